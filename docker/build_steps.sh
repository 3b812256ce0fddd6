#!/bin/sh
# Runs the steps of a Dockerfile one by one, where there is no container engine, so that the steps are known to work.
#
#   docker/build_steps.sh docker/cpu.Dockerfile [ARG=VALUE ...]
#
# Needs Linux and root. All changes go to an overlay of this system, in a mount namespace of its own, and are deleted at
# the end; only downloads touch the network. The base image is not fetched: this system, with a new virtual environment
# in front of its Python, takes its place. So this checks COPY, RUN, USER and ENTRYPOINT, and not the base image.
set -eu

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || { echo "build_steps.sh: run it as root." >&2; exit 2; }
    [ -f "${1:-}" ] || { echo "build_steps.sh: name a Dockerfile." >&2; exit 2; }
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    unshare --mount --fork sh "$0" --inside "$place" "$@"
    exit
fi

place=$2 file=$3
shift 3
repository=$(cd "$(dirname "$file")/.." && pwd)
root=$place/root
mkdir "$root" "$place/upper" "$place/work"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"

base=/opt/base-image
environment="PATH=$base/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\|SSL_[A-Z_]*\)=.*/\1/p'); do  # how this system reaches its package index
    environment="$environment $name=$(printenv "$name")"
done
arguments="" user=root folder=/

run() {  # a command line, as the current user in the current folder
    home=$(chroot "$root" getent passwd "$user" | cut -d: -f6)
    chroot "$root" env -i $environment $arguments "HOME=$home" setpriv --reuid "$user" --regid "$user" --clear-groups \
        sh -c 'cd "$0" && eval "$1"' "$folder" "$1"
}

copy() {  # what .dockerignore lets through, as COPY does it
    for target; do :; done
    mkdir -p "$root$target"
    for source; do
        [ "$source" = "$target" ] && continue
        grep -qx "!${source%%/*}" "$repository/.dockerignore" || { echo "$source is ignored." >&2; exit 1; }
        if [ -d "$repository/$source" ]; then
            cp -R "$repository/$source/." "$root$target"
        else
            cp "$repository/$source" "$root$target"
        fi
    done
    find "$root$target" -name __pycache__ -prune -exec rm -rf {} +
}

chmod a+rx "$root/root"  # this system's Python may lie there, and the image's user has to run it
python3 -m venv "$root$base"
sed -i "s|$root||g" "$root$base/pyvenv.cfg" "$root$base"/bin/pip*
# one instruction a line, without comments
sed -e '/^#/d' -e ':join' -e '/\\$/{N;s/\\\n */ /;b join' -e '}' "$repository/docker/$(basename "$file")" > "$place/steps"
while read -r word rest; do
    [ -z "$word" ] || echo "==> $word $rest"
    case $word in
        FROM | "") ;;
        ARG)
            name=${rest%%=*}
            for given; do case $given in "$name="*) rest=$given ;; esac; done
            case $rest in *=*) arguments="$arguments $rest" ;; esac ;;
        ENV) environment="$environment $(eval "PATH=$base/bin:\$PATH; echo \"$rest\"")" ;;
        COPY) copy $rest ;;
        RUN) run "$rest" < /dev/null ;;
        USER) user=$rest ;;
        WORKDIR) folder=$rest; run "true" ;;
        ENTRYPOINT)
            command=$(echo "$rest" | tr -d '[]",')
            run "$command --version" < /dev/null
            run "test -w . && $command doctor" < /dev/null ;;
        *) echo "build_steps.sh does not know $word." >&2; exit 1 ;;
    esac
done < "$place/steps"
echo "All steps of $file work."
