#!/bin/sh
# Replaces the podman that podman's API tests use to prepare images: it runs the same verbs with docker's
# client. Verbs that docker's client lacks (manifests, pods) do nothing, and their tests fail by themselves.
[ "$1" = --root ] && shift 2

# Here, quay.io/libpod/NAME is libpod/NAME on docker.io.
local_name() { printf '%s' "$1" | sed 's,^quay\.io/,,'; }

verb=$1
shift
case $verb in
  pull)
    for name; do
      case $name in -*) continue ;; esac
      docker pull -q "$(local_name "$name")" && docker tag "$(local_name "$name")" "$name"
    done
    ;;
  tag | rm | rmi | create | commit | save)
    case "$verb $*" in
      'rm -a') docker ps -aq | xargs -r docker rm -f ;;
      'rm -af') docker ps -aq | xargs -r docker rm -f ;;
      'rmi -af' | 'rmi -a -f') docker images -aq | sort -u | xargs -r docker rmi -f ;;
      *) docker "$verb" "$@" ;;
    esac
    ;;
  untag) for name; do docker rmi --no-prune "$name"; done ;;
  image) [ "$1" = inspect ] && docker image "$@" ;;
esac
exit 0
