//! Transfers between accounts from many processes, one of which is killed in the middle of a transfer.
//!
//!     cargo run --release --example bank
//!     cargo run --release --example bank -- --without-locks
//!
//! Every account has a lock, and a transfer holds both. Before it changes anything it writes down what was there, so that
//! whoever finds a lock whose holder has died can undo the half transfer. The total is right at the end. Without the
//! locks the same program loses money.

use multiproc::{Lock, LockError, LockGuard, Process, RawArray, RawValue};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

const ACCOUNTS: usize = 8;
const PROCESSES: usize = 4;
const START: i64 = 1_000;

/// The bank, as every process sees it: handles only, so it travels as an argument.
#[derive(Clone, Serialize, Deserialize)]
struct Bank {
    locks: Vec<Lock>,
    balances: RawArray<i64>,
    /// For each account: the other one of the transfer that is under way, plus 1; 0 = none is.
    partner: RawArray<u64>,
    /// For the lower account of a transfer: what both had before.
    before: RawArray<[i64; 2]>,
    /// For the lower account of a transfer: whether `before` counts.
    open: RawArray<u32>,
    repairs: RawValue<u64>,
}

impl Bank {
    fn new() -> Bank {
        Bank {
            locks: (0..ACCOUNTS).map(|_| Lock::new()).collect(),
            balances: RawArray::from(&[START; ACCOUNTS]),
            partner: RawArray::new(ACCOUNTS),
            before: RawArray::new(ACCOUNTS),
            open: RawArray::new(ACCOUNTS),
            repairs: RawValue::new(0),
        }
    }

    /// The lock of an account; undoes first what a dead process has left half done.
    fn lock(&self, account: usize) -> Result<LockGuard<'_>, LockError> {
        loop {
            match self.locks[account].lock() {
                Err(error) if error.is_owner_died() => self.repair(account)?,
                other => return other,
            }
        }
    }

    /// The locks of two accounts, always the lower one first, so that two transfers never wait for each other.
    fn lock_both(&self, low: usize, high: usize) -> Result<(LockGuard<'_>, LockGuard<'_>), LockError> {
        loop {
            let first = self.lock(low)?;
            match self.locks[high].lock() {
                Err(error) if error.is_owner_died() => {
                    // A repair takes locks itself, in the same order.
                    drop(first);
                    self.repair(high)?;
                }
                second => return Ok((first, second?)),
            }
        }
    }

    fn repair(&self, account: usize) -> Result<(), LockError> {
        let held = self.locks[account].lock_poisoned()?;
        let Some(partner) = self.partner.get(account).checked_sub(1) else {
            // It died before it had changed anything, or after all was done.
            held.clear_poison();
            return Ok(());
        };
        drop(held);
        let partner = partner as usize;
        let (low, high) = (account.min(partner), account.max(partner));
        let (first, second) = (self.locks[low].lock_poisoned()?, self.locks[high].lock_poisoned()?);
        if self.open.get(low) == 1 && self.partner.get(low) == high as u64 + 1 {
            let [low_before, high_before] = self.before.get(low);
            self.balances.set(low, low_before);
            self.balances.set(high, high_before);
            self.open.set(low, 0);
            self.repairs.fetch_add(1);
        }
        self.partner.set(low, 0);
        self.partner.set(high, 0);
        first.clear_poison();
        second.clear_poison();
        Ok(())
    }

    fn transfer(&self, from: usize, to: usize, amount: i64, then_die: bool) -> Result<(), LockError> {
        let (low, high) = (from.min(to), from.max(to));
        let (_first, _second) = self.lock_both(low, high)?;
        self.before.set(low, [self.balances.get(low), self.balances.get(high)]);
        self.partner.set(low, high as u64 + 1);
        self.partner.set(high, low as u64 + 1);
        self.open.set(low, 1);
        self.balances.set(from, self.balances.get(from) - amount);
        if then_die {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
        self.balances.set(to, self.balances.get(to) + amount);
        self.open.set(low, 0);
        self.partner.set(low, 0);
        self.partner.set(high, 0);
        Ok(())
    }

    fn transfer_without_locks(&self, from: usize, to: usize, amount: i64) {
        self.balances.set(from, self.balances.get(from) - amount);
        self.balances.set(to, self.balances.get(to) + amount);
    }

    fn total(&self) -> i64 {
        self.balances.read(..).iter().sum()
    }
}

fn work(bank: Bank, number: usize, transfers: u64, with_locks: bool) -> Result<(), LockError> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(number as u64 + 1);
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    for count in 0..transfers {
        let from = below(ACCOUNTS as u64) as usize;
        let to = (from + 1 + below(ACCOUNTS as u64 - 1) as usize) % ACCOUNTS;
        let amount = below(100) as i64;
        if with_locks {
            // The first process dies half way, in the middle of a transfer.
            bank.transfer(from, to, amount, number == 0 && count == transfers / 2)?;
        } else {
            bank.transfer_without_locks(from, to, amount);
        }
    }
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let with_locks = !std::env::args().any(|argument| argument == "--without-locks");
    let transfers = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(200_000);
    let bank = Bank::new();
    let processes: Vec<_> = (0..PROCESSES)
        .map(|number| Process::try_spawn(work, (bank.clone(), number, transfers, with_locks)))
        .collect::<Result<_, _>>()?;
    for process in processes {
        process.wait();
        if let Some(code) = process.exitcode().filter(|code| *code != 0) {
            println!("{} ended with exit code {code}", process.name());
        }
    }
    println!("half transfers undone: {}", bank.repairs.get());
    let (total, right) = (bank.total(), START * ACCOUNTS as i64);
    println!("total: {total}, {}", if total == right { "as at the start" } else { "which is wrong" });
    Ok(())
}
