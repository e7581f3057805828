//! ipc-channel by itself: two processes at the other ends of its channels, and no pool on top. It knows no tasks, so
//! each measure has a loop of its own in the workers.

use crate::plan::{Plan, Sampler, sampler as sample};
use crate::work::{WORKERS, burn, bytes, floats, increment, sum};
use ::ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory, bytes_channel, channel,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::{Child, Command};
use std::time::Duration;

/// The variable that makes this program such a worker; its value is the name of the parent's server.
const VARIABLE: &str = "COMPARE_IPC_CHANNEL";

/// What a worker does with what it receives until the channel ends.
#[derive(serde::Serialize, serde::Deserialize)]
enum Service {
    Increment(IpcReceiver<u64>, IpcSender<u64>),
    IncrementAll(IpcReceiver<Vec<u64>>, IpcSender<Vec<u64>>),
    Burn(IpcReceiver<u64>, IpcSender<u64>),
    Echo(IpcBytesReceiver, IpcBytesSender),
    Sum(IpcReceiver<Vec<f64>>, IpcSender<f64>),
    SumShared(IpcReceiver<IpcSharedMemory>, IpcSender<f64>),
}

/// Turns this process into a worker if it was started as one.
pub(crate) fn enter() {
    let Ok(server) = std::env::var(VARIABLE) else { return };
    let (sender, services) = channel().expect("a channel");
    let parent = IpcSender::connect(server).expect("the parent");
    parent.send(sender).expect("the parent");
    while let Ok(service) = services.recv() {
        match service {
            Service::Increment(from, to) => serve(from, to, increment),
            Service::IncrementAll(from, to) => {
                serve(from, to, |all: Vec<u64>| all.into_iter().map(increment).collect())
            }
            Service::Burn(from, to) => serve(from, to, burn),
            Service::Echo(from, to) => while from.recv().is_ok_and(|bytes| to.send(&bytes).is_ok()) {},
            Service::Sum(from, to) => serve(from, to, |values: Vec<f64>| sum(&values)),
            Service::SumShared(from, to) => serve(from, to, |memory: IpcSharedMemory| sum(floats_in(&memory))),
        }
    }
    std::process::exit(0);
}

fn serve<T, R>(from: IpcReceiver<T>, to: IpcSender<R>, f: impl Fn(T) -> R)
where
    T: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    while from.recv().is_ok_and(|item| to.send(f(item)).is_ok()) {}
}

fn floats_in(memory: &IpcSharedMemory) -> &[f64] {
    multiproc::bytemuck::cast_slice(memory)
}

/// The worker ends with its channels.
struct Worker {
    services: IpcSender<Service>,
    process: Child,
}

impl Worker {
    fn start() -> Worker {
        let (server, name) = IpcOneShotServer::new().expect("a server");
        let program = std::env::current_exe().expect("a path");
        let process = Command::new(program).env(VARIABLE, name).spawn().expect("a worker");
        Worker { services: server.accept().expect("its first message").1, process }
    }

    /// Has the worker serve; what goes to it, and what comes from it.
    fn serve<T, R>(
        &self,
        service: impl FnOnce(IpcReceiver<T>, IpcSender<R>) -> Service,
    ) -> (IpcSender<T>, IpcReceiver<R>)
    where
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let ((to, theirs), (answers, from)) = (channel().expect("a channel"), channel().expect("a channel"));
        self.services.send(service(theirs, answers)).expect("a worker");
        (to, from)
    }

    fn echo(&self) -> (IpcBytesSender, IpcBytesReceiver) {
        let ((to, theirs), (answers, from)) =
            (bytes_channel().expect("a channel"), bytes_channel().expect("a channel"));
        self.services.send(Service::Echo(theirs, answers)).expect("a worker");
        (to, from)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its loop ends with the sender of this handle, which is dropped only after this.
        _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Hands the items out in turn, and takes as many answers, with two threads for each worker: a full channel blocks.
fn exchange<T: Send, S: Send, R: Send>(
    ends: &mut [(S, R)],
    items: Vec<T>,
    send: impl Fn(&S, T) + Copy + Send,
    receive: impl Fn(&R) + Copy + Send,
) {
    let mut shares: Vec<Vec<T>> = ends.iter().map(|_| Vec::with_capacity(items.len() / WORKERS + 1)).collect();
    items.into_iter().enumerate().for_each(|(at, item)| shares[at % WORKERS].push(item));
    std::thread::scope(|scope| {
        for ((to, from), share) in ends.iter_mut().zip(shares) {
            let count = share.len();
            scope.spawn(move || share.into_iter().for_each(|item| send(to, item)));
            scope.spawn(move || (0..count).for_each(|_| receive(from)));
        }
    });
}

/// [`exchange`] over the ends of ordinary channels.
fn through<T, R>(ends: &mut [(IpcSender<T>, IpcReceiver<R>)], items: Vec<T>)
where
    T: Serialize + DeserializeOwned + Send,
    R: Serialize + DeserializeOwned + Send,
{
    exchange(ends, items, |to, item| to.send(item).expect("send"), |from| drop(from.recv().expect("an answer")));
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::start()).collect();
    let apply = |pause| {
        let (to, from) = workers[0].serve(Service::Increment);
        plan.latency(pause, move |x| {
            to.send(x).expect("send");
            assert_eq!(from.recv().expect("an answer"), x + 1);
        })
    };
    let sampler = match &*plan.measure {
        "map" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::IncrementAll)).collect();
            // As many chunks as Python makes.
            plan.rate(move |count| {
                let chunk = count.div_ceil(4 * WORKERS as u64) as usize;
                let items: Vec<u64> = (0..count).collect();
                through(&mut ends, items.chunks(chunk).map(<[u64]>::to_vec).collect());
            })
        }
        "map_chunksize_1" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::Increment)).collect();
            plan.rate(move |count| through(&mut ends, (0..count).collect()))
        }
        "apply" => apply(Duration::ZERO),
        "apply_from_sleep" => apply(Duration::from_millis(2)),
        "echo_8mib" => {
            let mut ends: Vec<_> = workers.iter().map(Worker::echo).collect();
            plan.bandwidth(bytes, move |items| {
                let send = |to: &IpcBytesSender, item: Vec<u8>| to.send(&item).expect("send");
                exchange(&mut ends, items, send, |from| drop(from.recv().expect("an answer")));
            })
        }
        "sum_8mib" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::Sum)).collect();
            plan.bandwidth(floats, move |items| through(&mut ends, items))
        }
        "sum_8mib_by_handle" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::SumShared)).collect();
            let shared = |at| {
                let values = floats(at as u64, plan.bytes);
                IpcSharedMemory::from_bytes(multiproc::bytemuck::cast_slice(&values))
            };
            let memory: Vec<IpcSharedMemory> = (0..WORKERS).map(shared).collect();
            plan.bandwidth(move |at, _| memory[at as usize % WORKERS].clone(), move |items| through(&mut ends, items))
        }
        "echo_64mib" | "echo_1gib" => {
            let mut ends = vec![workers[0].echo()];
            plan.large(move |value| {
                let send = |to: &IpcBytesSender, item: Vec<u8>| to.send(&item).expect("send");
                exchange(&mut ends, vec![value], send, |_| ());
                ends[0].1.recv().expect("an answer")
            })
        }
        "tasks_5ms" | "tasks_20us" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::Burn)).collect();
            plan.efficiency(move |count, steps| through(&mut ends, vec![steps; count as usize]))
        }
        "first_result" => {
            return Some(plan.latency(Duration::ZERO, |x| {
                let workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::start()).collect();
                let (to, from) = workers[0].serve(Service::Increment);
                to.send(x).expect("send");
                assert_eq!(from.recv().expect("an answer"), x + 1);
                workers
            }));
        }
        "idle_worker_pss" => {
            let mut ends: Vec<_> = workers.iter().map(|it| it.serve(Service::Increment)).collect();
            through(&mut ends, (0..100).collect());
            let pids: Vec<i32> = workers.iter().map(|it| it.process.id() as i32).collect();
            sample(move || super::pss(&pids))
        }
        _ => return None,
    };
    Some(keep(workers, sampler))
}

/// The sampler, which keeps its workers.
fn keep(workers: Vec<Worker>, mut sampler: Sampler) -> Sampler {
    Box::new(move || {
        let _workers = &workers;
        sampler()
    })
}
