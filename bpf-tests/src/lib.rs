//! The rig of the kernel side's tests: frames, the program under BPF_PROG_TEST_RUN, captures, and networks of
//! namespaces. Everything that uses it needs root.

pub mod capture;
pub mod chance;
pub mod cpu;
pub mod daemon;
pub mod first;
pub mod flood;
pub mod frame;
pub mod kernel;
pub mod lab;
pub mod meddle;
pub mod note;
pub mod peer;
pub mod raw;
pub mod small;
pub mod traffic;
