//! The fence around a child: what it may take, and what it may ask of the system.
//!
//! Both are set by the child itself before it reads anything, and cannot be taken back. The limits bound what it uses;
//! the filter leaves it nothing to talk to but the three pipes that it was given: no file, no socket, no other process.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

/// What the system is asked for by work on memory, between reading a pipe and writing another. All else fails as not
/// permitted, which a library that only wants to be fast or to tell the time takes calmly.
const MAY_ASK_FOR: [i64; 19] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What this process can have from here on: so much memory of its own, so many seconds of a core, no file that it does
/// not have already, and no process beside it.
pub(super) fn limit(memory: u64, cpu_seconds: u64) -> rustix::io::Result<()> {
    /// What is mapped and not its own, such as the program itself, does not count as memory, but is bounded too.
    const MAPPED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
    let at_most = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    at_most(Resource::Data, memory)?;
    at_most(Resource::As, MAPPED_BYTES)?;
    at_most(Resource::Cpu, cpu_seconds)?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    at_most(Resource::Nproc, 0)?;
    // The three that it has stay open.
    at_most(Resource::Nofile, 0)
}

/// Takes from this thread, and those that it starts, all calls of the system but [`MAY_ASK_FOR`].
pub(super) fn shut() -> Result<(), seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<_, _> = MAY_ASK_FOR.into_iter().map(|call| (call, Vec::new())).collect();
    let not_permitted = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    let filter = SeccompFilter::new(rules, not_permitted, SeccompAction::Allow, arch)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn behind_the_fence_there_are_only_the_pipes_that_were_given() {
        let (mut from, mut to) = std::io::pipe().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let fenced = std::thread::spawn(move || {
            shut().unwrap();
            let tries = [
                std::fs::File::open(file.path()).err(),
                std::fs::write(file.path(), "more").err(),
                std::fs::read_dir("/").err(),
                std::fs::remove_file(file.path()).err(),
                TcpStream::connect(port).err(),
                UdpSocket::bind("127.0.0.1:0").err(),
                std::process::Command::new("true").spawn().err(),
                std::thread::Builder::new().spawn(|| ()).err(),
            ];
            to.write_all(&vec![7; 1_000]).unwrap();
            (tries, file)
        });
        let mut told = Vec::new();
        from.read_to_end(&mut told).unwrap();
        assert_eq!(told, vec![7; 1_000]);
        let (tries, _file) = fenced.join().unwrap();
        for (number, refused) in tries.iter().enumerate() {
            let kind = refused.as_ref().map(std::io::Error::kind);
            assert_eq!(kind, Some(ErrorKind::PermissionDenied), "try {number}");
        }
    }
}
