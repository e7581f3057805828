//! Filters of system calls, as containers and sandboxes install them. `seccomp(2)`.

use libc::sock_filter;

/// From now on this thread, and all that it starts, gets `errno` from the system calls with these numbers.
pub(crate) fn refuse(calls: &[libc::c_long], errno: i32) {
    filter(calls, libc::SECCOMP_RET_ERRNO | errno as u32);
}

/// From now on `action` is what the kernel does with these system calls of this thread, and of all that it starts.
#[allow(unsafe_code)]
pub(crate) fn filter(calls: &[libc::c_long], action: u32) {
    let step = |code: u32, jt: usize, k: u32| sock_filter { code: code as u16, jt: jt as u8, jf: 0, k };
    // The number of the call is the first field of what the filter may look at.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, calls.len() - at, *call as u32));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, action));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: sets a flag of this thread.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel copies the program, which lives to the end of the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
