//! What a program that comes from Python asks a manager for, and what needs no server: queues, locks and their like are handles
//! to shared memory, and travel wherever proxies do.

use crate::channels::joinable::JoinableQueue;
use crate::channels::queue::Queue;
use crate::codec::Payload;
use crate::error::Result;
use crate::managers::handle::ManagerHandle;
use crate::sync::barrier::Barrier;
use crate::sync::bounded::BoundedSemaphore;
use crate::sync::condition::Condition;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::rlock::RLock;
use crate::sync::semaphore::Semaphore;

/// Queues and locks are not in the server: they are the handles that `new` of their types makes, and outlive the manager.
impl ManagerHandle {
    /// Makes a [`Queue`] for at most so many items, `None` = as many as there is memory for: Python's `manager.Queue()`.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let queue = manager.queue(10)?;
    /// queue.put("item".to_owned())?;
    /// manager.shutdown();
    /// assert_eq!(queue.get()?, "item");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Queue::try_bounded`].
    pub fn queue<T: Payload>(&self, items: impl Into<Option<usize>>) -> Result<Queue<T>> {
        items.into().map_or_else(Queue::try_new, Queue::try_bounded)
    }

    /// Makes a [`JoinableQueue`] for at most so many items, `None` = as many as there is memory for.
    ///
    /// # Errors
    ///
    /// As [`JoinableQueue::try_bounded`].
    pub fn joinable_queue<T: Payload>(&self, items: impl Into<Option<usize>>) -> Result<JoinableQueue<T>> {
        items.into().map_or_else(JoinableQueue::try_new, JoinableQueue::try_bounded)
    }

    /// Makes a [`Lock`].
    ///
    /// # Errors
    ///
    /// As [`Lock::try_new`].
    pub fn lock(&self) -> Result<Lock> {
        Lock::try_new()
    }

    /// Makes an [`RLock`].
    ///
    /// # Errors
    ///
    /// As [`RLock::try_new`].
    pub fn rlock(&self) -> Result<RLock> {
        RLock::try_new()
    }

    /// Makes a [`Semaphore`] with so many permits.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::try_new`].
    pub fn semaphore(&self, permits: u32) -> Result<Semaphore> {
        Semaphore::try_new(permits)
    }

    /// Makes a [`BoundedSemaphore`] with so many permits.
    ///
    /// # Errors
    ///
    /// As [`BoundedSemaphore::try_new`].
    pub fn bounded_semaphore(&self, permits: u32) -> Result<BoundedSemaphore> {
        BoundedSemaphore::try_new(permits)
    }

    /// Makes an [`Event`].
    ///
    /// # Errors
    ///
    /// As [`Event::try_new`].
    pub fn event(&self) -> Result<Event> {
        Event::try_new()
    }

    /// Makes a [`Condition`] with a lock of its own.
    ///
    /// # Errors
    ///
    /// As [`Condition::try_new`].
    pub fn condition(&self) -> Result<Condition> {
        Condition::try_new()
    }

    /// Makes a [`Barrier`] for so many parties.
    ///
    /// # Errors
    ///
    /// As [`Barrier::try_new`].
    pub fn barrier(&self, parties: usize) -> Result<Barrier> {
        Barrier::try_new(parties)
    }
}
