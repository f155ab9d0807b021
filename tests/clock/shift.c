/*
 * Shift the wall clock of a process and of its children by CLOCK_SHIFT_SECONDS: preload this with LD_PRELOAD.
 *
 * Durations are left alone: monotonic clocks, relative timeouts, sleeps. The times of files are shifted as well, because
 * the kernel sets them by its own clock; but for Python's sources, or their compiled files would be out of date.
 * Needs no file, no shared memory and no semaphore, so that a process may change its user at any time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define WALL_CLOCK_FROM 1000000000 /* a deadline later than this is of the wall clock: no machine runs for 30 years */
#define REAL(name) ((__typeof__(&name))real(#name))

static time_t shift;

__attribute__((constructor)) static void read_shift(void) {
    const char *seconds = getenv("CLOCK_SHIFT_SECONDS");
    shift = seconds ? atoll(seconds) : 0;
}

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

static struct timespec unshifted(const struct timespec *at) {
    struct timespec found = *at;
    if (found.tv_sec > WALL_CLOCK_FROM) found.tv_sec -= shift;
    return found;
}

/* What time it is. */

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) next;
    if (!next) next = REAL(clock_gettime);
    int status = next(clock, now);
    if (!status && is_wall(clock)) now->tv_sec += shift;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec found;
    if (clock_gettime(CLOCK_REALTIME, &found)) return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

/* Waiting until a time. */

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left) {
    struct timespec until = is_wall(clock) && (flags & TIMER_ABSTIME) ? unshifted(at) : *at;
    return REAL(clock_nanosleep)(clock, flags, &until, left);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict at) {
    struct timespec until = unshifted(at);
    return REAL(sem_timedwait)(semaphore, &until);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at) {
    struct timespec until = unshifted(at);
    return REAL(pthread_cond_timedwait)(condition, mutex, &until);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
    struct timespec until = unshifted(at);
    return REAL(pthread_mutex_timedlock)(mutex, &until);
}

/* The times of files. */

static int is_source(const char *path) {
    size_t length = path ? strlen(path) : 0;
    return length > 3 && !strcmp(path + length - 3, ".py");
}

static void shift_file(const char *path, struct stat *found) {
    if (is_source(path)) return;
    found->st_mtim.tv_sec += shift;
    found->st_ctim.tv_sec += shift;
    found->st_atim.tv_sec += shift;
}

/* Both structures are the same where a long has 64 bits. The last four are of programs built for a C library before 2.33. */
#define SHIFTED(name, path, parameters, arguments)           \
    int name parameters {                                    \
        int status = REAL(name) arguments;                   \
        if (!status) shift_file(path, (struct stat *)found); \
        return status;                                       \
    }
SHIFTED(stat, path, (const char *restrict path, struct stat *restrict found), (path, found))
SHIFTED(stat64, path, (const char *restrict path, struct stat64 *restrict found), (path, found))
SHIFTED(lstat, path, (const char *restrict path, struct stat *restrict found), (path, found))
SHIFTED(lstat64, path, (const char *restrict path, struct stat64 *restrict found), (path, found))
SHIFTED(fstat, NULL, (int file, struct stat *found), (file, found))
SHIFTED(fstat64, NULL, (int file, struct stat64 *found), (file, found))
SHIFTED(fstatat, path, (int folder, const char *restrict path, struct stat *restrict found, int flags),
        (folder, path, found, flags))
SHIFTED(fstatat64, path, (int folder, const char *restrict path, struct stat64 *restrict found, int flags),
        (folder, path, found, flags))
SHIFTED(__xstat64, path, (int version, const char *path, struct stat64 *found), (version, path, found))
SHIFTED(__lxstat64, path, (int version, const char *path, struct stat64 *found), (version, path, found))
SHIFTED(__fxstat64, NULL, (int version, int file, struct stat64 *found), (version, file, found))
SHIFTED(__fxstatat64, path, (int version, int folder, const char *path, struct stat64 *found, int flags),
        (version, folder, path, found, flags))

static const struct timespec *unshifted_pair(const struct timespec *times, struct timespec *pair) {
    for (int which = 0; times && which < 2; which++) {
        pair[which] = times[which];
        if (times[which].tv_nsec != UTIME_NOW && times[which].tv_nsec != UTIME_OMIT) pair[which].tv_sec -= shift;
    }
    return times ? pair : NULL;
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    struct timespec pair[2];
    return REAL(utimensat)(folder, path, unshifted_pair(times, pair), flags);
}

int futimens(int file, const struct timespec times[2]) {
    struct timespec pair[2];
    return REAL(futimens)(file, unshifted_pair(times, pair));
}
