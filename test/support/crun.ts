/** crun as a program that works on each host of the tests. */
import { findProgram } from './peers.ts';

/**
 * crun runs nothing on a host with both kinds of cgroups. There it gets one kind, and no device rules, which
 * need CAP_SYS_RESOURCE.
 */
export const CRUN = `#!/bin/sh
stat -f -c %T /sys/fs/cgroup | grep -q cgroup2 && exec ${findProgram('crun') ?? 'crun'} "$@"
for word; do
  test "$before" = --bundle && bundle=$word
  before=$word
done
test -n "$bundle" && ${process.execPath} -e '
  const { readFileSync, writeFileSync } = require("node:fs");
  const spec = JSON.parse(readFileSync(process.argv[1], "utf8"));
  spec.linux.resources = {};
  writeFileSync(process.argv[1], JSON.stringify(spec));
' "$bundle/config.json"
exec unshare --mount sh -c 'umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec crun "$@"' crun "$@"
`;
