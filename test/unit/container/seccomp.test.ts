import { describe, expect, it } from 'vitest';
import { defaultSeccomp, parseSeccompProfile, seccompOf } from '../../../src/container/spec/seccomp.ts';
import { codeOf } from '../../support/errors.ts';

const facts = { capabilities: ['CAP_CHOWN'], arch: 'x64', kernel: '6.1.0-13-amd64' };

describe('the default seccomp profile', () => {
  const allowed = (filter: ReturnType<typeof defaultSeccomp>): Set<string> =>
    new Set(
      filter.syscalls.flatMap(({ action, names, args }) =>
        action === 'SCMP_ACT_ALLOW' && !args ? names : [],
      ),
    );

  it('allows harmless calls, and neither io_uring nor calls that need a capability', () => {
    const names = allowed(defaultSeccomp(facts));
    for (const name of ['read', 'openat2', 'ptrace', 'arch_prctl']) expect(names).toContain(name);
    for (const name of ['io_uring_setup', 'mount', 'bpf', 'clone', 'socket', 'reboot', 'keyctl'])
      expect(names).not.toContain(name);
  });

  it('allows more by capability, and clone without its flags', () => {
    const filter = defaultSeccomp({ ...facts, capabilities: ['CAP_SYS_ADMIN', 'CAP_SYS_BOOT'] });
    for (const name of ['mount', 'clone', 'clone3', 'reboot']) expect(allowed(filter)).toContain(name);
    expect(filter.syscalls.filter(({ names }) => names.includes('clone3'))).toHaveLength(1);
  });

  it('answers clone3 with ENOSYS, so that libraries use clone', () => {
    expect(defaultSeccomp(facts).syscalls).toContainEqual({
      ...{ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
    });
  });

  it('refuses ptrace on kernels on which it bypasses seccomp', () => {
    expect(allowed(defaultSeccomp({ ...facts, kernel: '4.4.0' }))).not.toContain('ptrace');
    expect(allowed(defaultSeccomp({ ...facts, kernel: '4.8' }))).toContain('ptrace');
    expect(allowed(defaultSeccomp({ ...facts, kernel: '10.0' }))).toContain('ptrace');
  });

  it('fits the architecture', () => {
    const arm = defaultSeccomp({ ...facts, arch: 'arm64' });
    expect(arm.architectures).toEqual(['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
    expect(allowed(arm)).toContain('cacheflush');
    expect(allowed(arm)).not.toContain('arch_prctl');
    const s390 = defaultSeccomp({ ...facts, arch: 's390x' });
    expect(s390.syscalls.find(({ names }) => names[0] === 'clone')?.args?.[0]?.index).toBe(1);
    expect(defaultSeccomp({ ...facts, arch: 'mips' })).not.toHaveProperty('architectures');
  });
});

describe('a profile in docker’s format', () => {
  const profile = (rules: object[], more: object = {}): string =>
    JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules, ...more });
  const names = (text: string, more: Partial<typeof facts> = {}): string[] =>
    seccompOf(parseSeccompProfile(text), { ...facts, ...more }).syscalls.flatMap((rule) => rule.names);
  const rule = (name: string, more: object = {}): object => ({
    names: [name],
    action: 'SCMP_ACT_ALLOW',
    ...more,
  });

  it('has its conditions evaluated', () => {
    const text = profile([
      rule('plain'),
      { name: 'old', action: 'SCMP_ACT_ALLOW' },
      rule('caps', { includes: { caps: ['CAP_CHOWN'] } }),
      rule('both-caps', { includes: { caps: ['CAP_CHOWN', 'CAP_KILL'] } }),
      rule('not-caps', { excludes: { caps: ['CAP_KILL', 'CAP_CHOWN'] } }),
      rule('arch', { includes: { arches: ['amd64', 'x32'] } }),
      rule('other-arch', { includes: { arches: ['arm64'] } }),
      rule('not-arch', { excludes: { arches: ['amd64'] } }),
      rule('kernel', { includes: { minKernel: '4.8' } }),
      rule('newer', { includes: { minKernel: '6.2' } }),
      rule('not-newer', { excludes: { minKernel: '6.1' } }),
    ]);
    expect(names(text)).toEqual(['plain', 'old', 'caps', 'arch', 'kernel']);
  });

  it('keeps errno, arguments of any size, flags and a listener', () => {
    const args =
      '[{"index":1,"value":18446744073709551615,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"},{"index":0,"value":0,"op":"SCMP_CMP_EQ"}]';
    const text =
      `{"defaultAction":"SCMP_ACT_LOG","defaultErrnoRet":5,"flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/run/l",` +
      `"syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO","errnoRet":0,"args":${args}}]}`;
    expect(seccompOf(parseSeccompProfile(text), facts)).toEqual({
      defaultAction: 'SCMP_ACT_LOG',
      defaultErrnoRet: 5,
      flags: ['SECCOMP_FILTER_FLAG_LOG'],
      listenerPath: '/run/l',
      syscalls: [
        {
          names: ['x'],
          action: 'SCMP_ACT_ERRNO',
          errnoRet: 0,
          args: [
            { index: 1, value: 18446744073709551615n, valueTwo: 2, op: 'SCMP_CMP_MASKED_EQ' },
            { index: 0, value: 0, op: 'SCMP_CMP_EQ' },
          ],
        },
      ],
    });
  });

  it('has the architectures of its map', () => {
    const archMap = [
      { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] },
      { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: null },
    ];
    const of = (arch: string) =>
      seccompOf(parseSeccompProfile(profile([], { archMap })), { ...facts, arch }).architectures;
    expect(of('x64')).toEqual(['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
    expect(of('arm64')).toEqual(['SCMP_ARCH_AARCH64']);
    expect(of('ppc64')).toBeUndefined();
  });

  it.each([
    '',
    '/etc/profile.json',
    '[]',
    '{}',
    profile([{ name: 'a', names: ['b'], action: 'x' }]),
    profile([rule('a', { includes: { minKernel: 'new' } })]),
    profile([rule('a', { args: [{ value: -1 }] })]),
    profile([], { architectures: ['a'], archMap: [{ architecture: 'b' }] }),
  ])('%j is refused', (text) => {
    expect(codeOf(() => parseSeccompProfile(text))).toBe('ERR_INVALID_ARGUMENT');
  });
});
