"""Transfers between accounts from many processes, one of which is killed in the middle of a transfer.

python3 examples/python/bank.py 20000
python3 examples/python/bank.py --without-locks 100000

A lock of Python does not know who holds it, and stays locked when its holder dies. So each process writes down what it is
about to do, and the parent looks at the exit codes, undoes the half transfer and releases the locks. (A process that is
killed between taking a lock and writing that down would still stop the bank for ever.)
"""

import argparse
import os
import signal
from multiprocessing import Lock, Process, RawArray

ACCOUNTS, PROCESSES, START = 8, 4, 1_000
MASK = (1 << 64) - 1


class Bank:
    def __init__(self):
        self.locks = [Lock() for _ in range(ACCOUNTS)]
        self.balances = RawArray("q", [START] * ACCOUNTS)
        # For each process: whether a transfer is under way, its two accounts, and what both had before.
        self.notes = [RawArray("q", 5) for _ in range(PROCESSES)]

    def transfer(self, number, start, end, amount, then_die):
        low, high = min(start, end), max(start, end)
        note, balances = self.notes[number], self.balances
        with self.locks[low], self.locks[high]:
            note[1:] = low, high, balances[low], balances[high]
            note[0] = 1
            balances[start] -= amount
            if then_die:
                os.kill(os.getpid(), signal.SIGKILL)
            balances[end] += amount
            note[0] = 0

    def transfer_without_locks(self, start, end, amount):
        self.balances[start] -= amount
        self.balances[end] += amount

    def repair(self, number):
        """Undoes what a dead process has left half done."""
        is_open, low, high, low_before, high_before = self.notes[number]
        if not is_open:
            return 0
        self.balances[low], self.balances[high] = low_before, high_before
        self.locks[low].release()
        self.locks[high].release()
        return 1


def work(bank, number, transfers, with_locks):
    random = (0x9E3779B97F4A7C15 * (number + 1)) & MASK

    def below(limit):
        nonlocal random
        random ^= (random << 13) & MASK
        random ^= random >> 7
        random ^= (random << 17) & MASK
        return random % limit

    for count in range(transfers):
        start = below(ACCOUNTS)
        end = (start + 1 + below(ACCOUNTS - 1)) % ACCOUNTS
        amount = below(100)
        if with_locks:
            bank.transfer(number, start, end, amount, number == 0 and count == transfers // 2)
        else:
            bank.transfer_without_locks(start, end, amount)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("transfers", type=int, nargs="?", default=200_000)
    parser.add_argument("--without-locks", action="store_true")
    options = parser.parse_args()
    bank, repairs = Bank(), 0
    crew = [Process(target=work, args=(bank, it, options.transfers, not options.without_locks)) for it in range(PROCESSES)]
    for process in crew:
        process.start()
    for number, process in enumerate(crew):
        process.join()
        if process.exitcode != 0:
            print(f"{process.name} ended with exit code {process.exitcode}")
            repairs += bank.repair(number)
    print("half transfers undone:", repairs)
    total = sum(bank.balances)
    print(f"total: {total}, {'as at the start' if total == START * ACCOUNTS else 'which is wrong'}")


if __name__ == "__main__":
    main()
