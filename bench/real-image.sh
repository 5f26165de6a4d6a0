#!/usr/bin/env bash
# Builds the benchmark's main image and saves it as a docker-archive: bench/real-image.sh OUT.tar
#
# The image has five layers, about 36,000 entries and 1 GB: a Debian minbase, compilers and interpreters from
# apt, deletions with an opaque directory, 20,000 small files, and a random blob with a hard link. Its size
# changes a little with the package versions.
# Needs root, debootstrap, network, a docker client with a running daemon (DOCKER_HOST), and about 3 GB of disk.
set -euo pipefail

out=$(realpath -m "${1:?usage: bench/real-image.sh OUT.tar}")
suite=${SUITE:-bookworm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase "$suite" "$work/root" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; exit 1; }
tar -C "$work/root" --numeric-owner -cf - . | docker import - layerstack-bench:minbase >/dev/null

mkdir "$work/context"
cat >"$work/context/Dockerfile" <<'DOCKERFILE'
FROM layerstack-bench:minbase
RUN apt-get update && apt-get install -y --no-install-recommends python3 gcc g++ make perl git ca-certificates
RUN rm -rf /usr/share/doc /usr/share/man && mkdir -p /usr/share/doc && echo new >/usr/share/doc/README
RUN for d in $(seq 1 200); do mkdir -p /srv/app/d$d; for f in $(seq 1 100); do echo "file $d $f" >/srv/app/d$d/f$f.js; done; done
RUN dd if=/dev/urandom of=/srv/blob bs=1M count=200 && ln /srv/blob /srv/blob.hard && ln -s blob /srv/blob.sym
ENV FOO=bar
CMD ["/bin/bash"]
DOCKERFILE
DOCKER_BUILDKIT=0 docker build -q --network host -t layerstack-bench:real "$work/context" >/dev/null
docker save -o "$out" layerstack-bench:real
