/**
 * Boots a kernel in qemu, and ends it in time. qemu emulates the processor, so it needs no hardware support.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { clearTimeout, setTimeout } from 'node:timers';

// On a busy machine the emulated timer is late, and the kernel's check of it would panic.
const COMMON = 'console=ttyS0 quiet panic=-1 no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1';

const running = new Set();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.once(signal, () => {
    for (const child of running) child.kill('SIGKILL');
    process.exit(1);
  });

/** The words of qemu for a folder that the guest mounts by `tag`. */
function share(tag, path, writable) {
  const options = `local,id=${tag},path=${path},security_model=none,multidevs=remap`;
  return [
    ...['-fsdev', writable ? options : `${options},readonly=on`],
    ...['-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`],
  ];
}

/**
 * Boots a kernel until it powers off.
 * @param machine.kernel from kernelOf()
 * @param machine.disk the path of /dev/vda
 * @param machine.shares folders by tag: `{ path, writable }`
 * @param machine.words the kernel's command line
 * @param machine.seconds the bound, after which it is killed
 * @returns its console's text, and whether it powered off in time.
 */
export async function boot({ kernel, disk, shares = {}, words, seconds }) {
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '2G', '-nodefaults', '-no-reboot'],
      ...['-display', 'none', '-serial', 'stdio', '-kernel', kernel.kernel, '-initrd', kernel.initramfs],
      ...['-append', `${COMMON} ${words.join(' ')}`],
      ...[
        '-drive',
        `file=${disk.path},if=virtio,format=raw,cache=unsafe${disk.readOnly ? ',readonly=on' : ''}`,
      ],
      ...Object.entries(shares).flatMap(([tag, { path, writable }]) => share(tag, path, writable)),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  running.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (piece) => {
      text += piece;
      if (process.env.VERBOSE) process.stderr.write(piece);
    });
  let ended = true;
  const timer = setTimeout(() => {
    ended = false;
    child.kill('SIGKILL');
  }, seconds * 1000);
  try {
    await once(child, 'close');
  } finally {
    clearTimeout(timer);
    running.delete(child);
  }
  return { text: text.replaceAll('\r', ''), ended };
}
