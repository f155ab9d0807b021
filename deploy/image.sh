#!/usr/bin/env bash
# Builds the images with Docker, or with buildah where no engine answers. What is given goes to the build command.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' aurea_celery/_version.py)

if docker info >/dev/null 2>&1; then
    build=(docker build)
elif command -v buildah >/dev/null; then
    build=(buildah build --format docker)  # the OCI format has no health checks
else
    echo "image: no Docker engine answers and buildah is not installed; start the one or install the other" >&2
    exit 1
fi

for image in aurea-celery worker-example; do
    "${build[@]}" --file deploy/Dockerfile --target "$image" --tag "aurea-celery/$image:$version" "$@" .
done
