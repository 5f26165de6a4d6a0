#!/bin/busybox sh
# The first program of a guest. It mounts the root file system, and starts its /sbin/init or the tests.
#
#   root=/dev/vda rootfstype=TYPE   the file system of a disk image
#   checkout=DIRECTORY              this machine's files over 9p, below a writable disk; then guest.sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc

fail() {
  echo "init: $1"
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module" || fail "$module does not load"
done </modules/order

for word in $(cat /proc/cmdline); do
  case $word in
    root=* | rootfstype=* | checkout=*) eval "${word%%=*}=\${word#*=}" ;;
  esac
done

if [ -z "$checkout" ]; then
  mount -t "$rootfstype" -o ro "$root" /root || fail "$root cannot be mounted"
  umount /proc
  mount -o move /dev /root/dev || fail "the root file system does not have /dev"
  exec switch_root /root /sbin/init
fi

share=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$share,ro,cache=loose" host /lower || fail 'the files of the host cannot be mounted'
mount -t ext4 /dev/vda /disk || fail 'the disk cannot be mounted'
mkdir /disk/upper /disk/work /disk/tmp
chmod 1777 /disk/tmp
mount -t overlay -o lowerdir=/lower,upperdir=/disk/upper,workdir=/disk/work root /root || fail 'the root cannot be mounted'
for name in dev proc sys run tmp; do mkdir -p "/root/$name"; done
mount -o move /dev /root/dev
mount -o move /proc /root/proc
mount -t sysfs sys /root/sys
mount -t tmpfs -o mode=755 run /root/run
# Tests work on ext4. An overlay cannot be the upper of another one.
for name in tmp var/tmp; do mount -o bind /disk/tmp "/root/$name"; done
# The checkout may be below one of the directories that are replaced above.
mkdir -p /checkout /disk/checkout-upper /disk/checkout-work "/root$checkout"
mount -t 9p -o "$share,ro,cache=loose" checkout /checkout || fail 'the checkout cannot be mounted'
mount -t overlay -o lowerdir=/checkout,upperdir=/disk/checkout-upper,workdir=/disk/checkout-work checkout "/root$checkout" ||
  fail 'the checkout cannot be made writable'
mkdir -p /root/lib/modules
mount -t 9p -o "$share,ro,cache=loose" modules /root/lib/modules || fail 'the modules cannot be mounted'
for name in result cache; do
  mkdir "/root/run/$name"
  mount -t 9p -o "$share" "$name" "/root/run/$name" || fail "$name cannot be mounted"
done
# The kernel loads other modules by this path.
[ -e /root/sbin/modprobe ] || cp /bin/busybox /root/sbin/modprobe
exec switch_root /root /bin/sh "$checkout/test/kernels/guest.sh" "$checkout"
