/**
 * The system calls that docker's default seccomp profile allows. The table was made from the filters that
 * dockerd 28.5 gives to runc on amd64, without capabilities and with each capability alone. A conformance
 * test compares it with dockerd 20.10. Other calls fail with EPERM. For another architecture, the table adds
 * the calls of its kernel that amd64 does not have.
 */

/** Allowed for every process. */
export const ALLOWED = (
  '_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod ' +
  'chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime ' +
  'clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range ' +
  'creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 ' +
  'epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 ' +
  'fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 ' +
  'fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat ' +
  'fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 ' +
  'futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents ' +
  'getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer ' +
  'getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid ' +
  'getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 ' +
  'getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ' +
  'io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ' +
  'ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 ' +
  'lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr ' +
  'lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat ' +
  'mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open ' +
  'mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal ' +
  'msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat ' +
  'open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect ' +
  'poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 ' +
  'pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom ' +
  'recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat ' +
  'renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask ' +
  'rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo ' +
  'sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam ' +
  'sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity ' +
  'sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop ' +
  'semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list ' +
  'set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups ' +
  'setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid ' +
  'setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat ' +
  'shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall ' +
  'socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range ' +
  'syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime ' +
  'timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 ' +
  'timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink ' +
  'unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write ' +
  'writev'
).split(' ');

/**
 * Allowed for every process from this kernel version on. Older kernels do not check these calls well enough.
 */
export const ALLOWED_SINCE: Readonly<Record<string, readonly string[]>> = {
  '4.8': ['process_vm_readv', 'process_vm_writev', 'ptrace'],
};

/** Allowed with the capability. */
export const ALLOWED_BY_CAPABILITY: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: ['bpf'],
  CAP_DAC_READ_SEARCH: ['open_by_handle_at'],
  CAP_PERFMON: ['perf_event_open'],
  CAP_SYS_ADMIN: (
    'bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr ' +
    'lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl ' +
    'quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare'
  ).split(' '),
  CAP_SYS_BOOT: ['reboot'],
  CAP_SYS_CHROOT: ['chroot'],
  CAP_SYS_MODULE: ['delete_module', 'finit_module', 'init_module'],
  CAP_SYS_NICE: ['get_mempolicy', 'mbind', 'set_mempolicy', 'set_mempolicy_home_node'],
  CAP_SYS_PACCT: ['acct'],
  CAP_SYS_PTRACE: [
    'kcmp',
    'pidfd_getfd',
    'process_madvise',
    'process_vm_readv',
    'process_vm_writev',
    'ptrace',
  ],
  CAP_SYS_RAWIO: ['ioperm', 'iopl'],
  CAP_SYS_TIME: ['clock_settime', 'clock_settime64', 'settimeofday', 'stime'],
  CAP_SYS_TTY_CONFIG: ['vhangup'],
  CAP_SYSLOG: ['syslog'],
};

/** Allowed on the architecture. Keys are Node's names. */
export const ALLOWED_BY_ARCH: Readonly<Record<string, readonly string[]>> = {
  x64: ['arch_prctl', 'modify_ldt'],
  ia32: ['modify_ldt'],
  arm: ['arm_fadvise64_64', 'arm_sync_file_range', 'breakpoint', 'cacheflush', 'set_tls', 'sync_file_range2'],
  arm64: [
    'arm_fadvise64_64',
    'arm_sync_file_range',
    'breakpoint',
    'cacheflush',
    'set_tls',
    'sync_file_range2',
  ],
  ppc64: ['swapcontext', 'sync_file_range2'],
  riscv64: ['riscv_flush_icache'],
  s390x: ['s390_pci_mmio_read', 's390_pci_mmio_write', 's390_runtime_instr'],
};

/**
 * The values that `personality` may have: the execution domain Linux, with and without ADDR_NO_RANDOMIZE and
 * UNAME26, and the query.
 */
export const PERSONALITIES = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff] as const;

/**
 * `socket` may have any family but AF_VSOCK, which reaches the host of a virtual machine from any namespace.
 */
export const REFUSED_SOCKET_FAMILY = 40;

/**
 * CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: the flags of `clone` that make namespaces, and need
 * CAP_SYS_ADMIN.
 */
export const NAMESPACE_FLAGS = 0x7e02_0000;

/**
 * The architectures of processes, the native one first. Keys are Node's names of the kernel's architecture.
 */
export const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  ia32: ['SCMP_ARCH_X86'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  arm: ['SCMP_ARCH_ARM'],
  ppc64: ['SCMP_ARCH_PPC64LE'],
  riscv64: ['SCMP_ARCH_RISCV64'],
  s390x: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'],
};
