//! What the kernel's verifier makes of each program: that it takes it, and how near it came to its limits.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs::File;
use std::os::fd::AsRawFd;

use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use bpf_tests::note;
use bpf_tests::small::Small;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sensor_user::bpf::OBJECT;

/// Half of what the verifier looks at before it gives up. It looks at more or less with each version, by a factor of
/// several, and the product is to load on the next one too.
const MOST_INSTRUCTIONS: u32 = 500_000;

/// The verifier's log of a program that it takes. aya shows the log of a failed load only, so the load is made to fail
/// at its very end, after the verifier: there is no file descriptor left for the program.
fn log_of(program: &mut Program) -> String {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    let next = File::open("/dev/null").expect("opens").as_raw_fd();
    setrlimit(Resource::RLIMIT_NOFILE, next as u64, hard).expect("a lower limit");
    let Program::Xdp(xdp) = program else { panic!("not an XDP program") };
    let result = xdp.load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
    match result {
        Err(ProgramError::LoadError { io_error, verifier_log })
            if io_error.raw_os_error() == Some(libc::EMFILE) =>
        {
            verifier_log.to_string()
        }
        other => panic!("{other:?}"),
    }
}

// The only test of this file: it lowers a limit of the whole process.
#[test]
fn the_kernel_takes_each_program() {
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(OBJECT)
        .expect("the kernel makes the maps");
    // What aya has to find out about the kernel takes file descriptors too; once is enough.
    Small::pass().expect("loads");
    let mut programs: Vec<_> = ebpf.programs_mut().collect();
    programs.sort_by_key(|(name, _)| *name);
    assert!(!programs.is_empty(), "no program in the object");
    for (name, program) in programs {
        let log = log_of(program);
        let line = |start: &str| log.lines().find(|line| line.starts_with(start)).map(str::to_owned);
        let processed = line("processed ").unwrap_or_else(|| panic!("no count of instructions: {log}"));
        let stack = line("stack depth ").unwrap_or_else(|| panic!("no depth of the stack: {log}"));
        note::figure(&format!("{name}: {}; {stack}", processed.split(" max_states").next().expect("a part")));
        let count = processed.split(' ').nth(1).and_then(|count| count.parse().ok());
        assert!(
            count.is_some_and(|count: u32| count <= MOST_INSTRUCTIONS),
            "{name} is near the limit: {processed}"
        );
        let Program::Xdp(xdp) = program else { panic!("not an XDP program") };
        xdp.load().expect("loads with file descriptors to spare");
    }
}
