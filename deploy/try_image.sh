#!/usr/bin/env bash
# Builds the images without a Docker engine and runs what is in them: as their user, on a root file system that cannot be
# written, with nothing of this machine but its network and two private servers from .venv (`make lint` sets it up).
#
# As root, on Debian, with: apt-get install buildah debootstrap curl postgresql
#
# The base is Debian itself, made by debootstrap: no registry is asked. pip takes this machine's index and certificates.
set -euo pipefail
cd "$(dirname "$0")/.."

export BUILDAH_ISOLATION=chroot
suite=${SUITE:-trixie}
base=localhost/aurea-base:$suite
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' aurea_celery/_version.py)

for program in buildah debootstrap curl; do
    command -v "$program" >/dev/null || { echo "try_image: $program is missing; apt-get install $program" >&2; exit 1; }
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { echo "try_image: apt-get install postgresql" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "try_image: debootstrap and chroot need root" >&2; exit 1; }
[ -x .venv/bin/python ] || { echo "try_image: run make lint first, it sets up .venv" >&2; exit 1; }

work=$(mktemp -d /tmp/aurea-image-XXXX)
chmod 755 "$work"  # PostgreSQL runs as another user
pids=()
containers=()
clean() {
    status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" || true; done
    for container in "${containers[@]}"; do buildah rm "$container" >/dev/null; done
    [ "$status" = 0 ] || tail -n 20 "$work"/*.log >&2
    rm -rf "$work"
}
trap clean EXIT
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    step "making the base $base"
    debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$work/root" >"$work/debootstrap.log"
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$work/root" / >/dev/null
    buildah commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$work/root"
fi

step "building the images"
mkdir "$work/bin"
ln -s /bin/false "$work/bin/docker"  # an engine has its own storage; here it is buildah's turn
{ echo "[global]"; pip config list | sed -nE "s/^(global|:env:)\.(cert|index-url|extra-index-url)='(.*)'$/\2 = \3/p" | sort -u; } >"$work/pip.conf"
PATH=$work/bin:$PATH deploy/image.sh --build-arg BASE_IMAGE="$base" --secret id=pip.conf,src="$work/pip.conf" \
    --volume /etc/ssl/certs:/etc/ssl/certs:ro >"$work/build.log" 2>&1
buildah images --format '        {{.Name}} {{.Size}}' | sort

step "starting a private PostgreSQL and Valkey"
mkfifo "$work/urls"
.venv/bin/python -c '
import pathlib, signal, sys
from aurea_celery.embedded import EmbeddedValkey
from tests.support.servers import InstalledPostgres, installed_postgres
folder = pathlib.Path(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
postgres, valkey = InstalledPostgres(installed_postgres(), folder), EmbeddedValkey(folder)
print(postgres.url, valkey.url, flush=True)
signal.sigwait({signal.SIGTERM})
valkey.stop(), postgres.stop()
' "$work" >"$work/urls" 2>"$work/servers.log" &
pids+=($!)
read -r database broker <"$work/urls"

# Mounts an image. What follows "${enter[@]}" is run in it as in a container: by its user, with its path, read-only but for
# /tmp and an outbox.
mount_image() {
    containers+=("$(buildah from "localhost/aurea-celery/$1:$version")")
    local root user path
    root=$(buildah mount "${containers[-1]}")
    path=$(buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "${containers[-1]}" | sed -n 's/^PATH=//p')
    user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "${containers[-1]}")
    # shellcheck disable=SC2016  # the inner shell puts its own values in
    enter=(unshare --mount bash -euc '
        root=$1 user=$2; shift 2
        mount --bind "$root" "$root"
        mount --options remount,bind,ro "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/tmp"
        mount -t tmpfs --options "uid=${user%:*},mode=700" tmpfs "$root/var/lib/aurea"
        if chroot "$root" touch /written 2>/dev/null; then echo "the root file system can be written" >&2; exit 1; fi
        exec chroot --userspec="$user" "$root" /usr/bin/env --chdir=/app "$@"
    ' enter "$root" "$user" -i PATH="$path" DATABASE_URL="$database" BROKER_URL="$broker" AUREA_BROKER_URL="$broker"
        AUREA_OUTBOX_DIR=/var/lib/aurea AUREA_API_TOKENS=read:token-of-a-try-run)
}

wait_for() {  # at most a minute for a command to succeed
    for _ in $(seq 120); do "$@" >/dev/null 2>&1 && return; sleep 0.5; done
    echo "try_image: this did not happen: $*" >&2
    return 1
}

mount_image aurea-celery
said=$("${enter[@]}" aurea --version)
who=$("${enter[@]}" id)
step "aurea-celery: $said, as $who"
"${enter[@]}" python -c 'import aurea_celery as found; assert found.__file__.startswith("/opt/aurea/"), found.__file__'
said=$("${enter[@]}" aurea db upgrade)
step "aurea-celery: $said"
"${enter[@]}" aurea serve --host 0.0.0.0 --port 4987 >"$work/api.log" 2>&1 &
pids+=($!)
wait_for curl --fail --silent http://127.0.0.1:4987/health
said=$(curl --fail --silent http://127.0.0.1:4987/health)
step "aurea-celery: the API answers ${said:0:80}..."

mount_image worker-example
"${enter[@]}" celery -A worker_example.app aurea writer >"$work/writer.log" 2>&1 &
pids+=($!)
"${enter[@]}" celery -A worker_example.app worker --concurrency 2 --loglevel INFO >"$work/worker.log" 2>&1 &
pids+=($!)
wait_for grep -q ' ready\.' "$work/writer.log"
wait_for grep -q ' ready\.' "$work/worker.log"
step "worker-example: worker and writer are ready"
said=$("${enter[@]}" python -m worker_example.send --tasks 20)
step "worker-example: $said"
wait_for "${enter[@]}" sh -c 'aurea report | grep -q "in 2[0-9] executions"'
said=$("${enter[@]}" aurea report | head -n 1)
step "worker-example: $said"
step "done"
