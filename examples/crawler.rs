//! Several processes walk through a web site, and visit each page once.
//!
//!     cargo run --release --example crawler
//!
//! `-- --pages 200 --crawlers 4 --depth 20` are the defaults. The site is in this program: pages that link to each other, on a
//! port of this machine. Addresses that are to be visited lie in a queue whose `join` returns when all are done; a map in shared
//! memory says which page was seen, and at which depth. One crawler is killed after a while: the page that it was at is its loss
//! alone, and is put back here, since the map says who has it.

use multiproc::{JoinableQueue, Process, SharedDict};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// What is known of a page.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Page {
    depth: u32,
    /// The process that has claimed it, and how many links it has, once it was read.
    crawler: i32,
    links: Option<usize>,
}

type Pages = SharedDict<String, Page>;

/// Serves the site, on threads of this process.
fn serve(listener: TcpListener, pages: usize) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream, pages));
    }
}

/// Answers one request: the links of a page, one a line.
fn answer(mut stream: TcpStream, pages: usize) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let page = request.trim().strip_prefix("GET /").and_then(|page| page.parse::<usize>().ok());
    let Some(page) = page.filter(|page| *page < pages) else { return stream.write_all(b"404") };
    for link in [2 * page + 1, 2 * page + 2, page * 7 % pages, page / 2] {
        if link < pages {
            writeln!(stream, "/{link}")?;
        }
    }
    Ok(())
}

fn fetch(port: u16, path: &str) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    writeln!(stream, "GET {path}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Visits what is in the queue, and puts in what it finds there for the first time.
fn crawl(port: u16, deepest: u32, todo: JoinableQueue<String>, pages: Pages) -> multiproc::Result<()> {
    let me = std::process::id() as i32;
    loop {
        let path = todo.get()?;
        let claimed = pages.update(&*path, |page| {
            let page = page.as_mut()?;
            page.crawler = me;
            Some(page.depth)
        })?;
        let Some(depth) = claimed else { continue };
        let links = fetch(port, &path)?;
        for link in links.iter().filter(|_| depth < deepest) {
            let is_new = pages.update(&**link, |page| {
                let is_new = page.is_none();
                page.get_or_insert(Page { depth: depth + 1, crawler: 0, links: None });
                is_new
            })?;
            if is_new {
                todo.put(link.clone())?;
            }
        }
        pages.update(&*path, |page| {
            if let Some(page) = page {
                page.links = Some(links.len());
            }
        })?;
        // Dropped behind what it led to, so that `join` does not return in between.
        drop(path);
    }
}

fn main() -> multiproc::Result<()> {
    let option = |name: &str, default: usize| {
        let value = std::env::args().skip_while(|it| it != name).nth(1);
        value.map_or(Ok(default), |text| text.parse::<usize>()).unwrap_or_else(|error| {
            eprintln!("{name}: {error}");
            std::process::exit(1)
        })
    };
    let (count, crawlers, depth) = (option("--pages", 200), option("--crawlers", 4), option("--depth", 20));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || serve(listener, count));

    let (todo, pages) = (JoinableQueue::new(), Pages::new());
    pages.insert("/0".to_owned(), Page { depth: 0, crawler: 0, links: None })?;
    todo.put("/0".to_owned())?;
    let start = || {
        let arguments = (port, depth as u32, todo.clone(), pages.clone());
        Process::builder().daemon(true).try_spawn(crawl, arguments)
    };
    let mut crew = (0..crawlers.max(1)).map(|_| start()).collect::<multiproc::Result<Vec<_>>>()?;

    // After a while one of them is killed.
    while pages.len()? < count / 3 && !todo.join_timeout(Duration::from_millis(1))? {}
    let victim = crew.swap_remove(0);
    victim.kill();
    victim.wait();
    crew.push(start()?);
    loop {
        todo.join()?;
        let lost: Vec<String> = pages.iter()?.filter(|(_, page)| page.links.is_none()).map(|(path, _)| path).collect();
        if lost.is_empty() {
            break;
        }
        lost.into_iter().try_for_each(|path| todo.put(path))?;
    }
    let all: Vec<(String, Page)> = pages.iter()?.collect();
    let links: usize = all.iter().filter_map(|(_, page)| page.links).sum();
    let deepest = all.iter().map(|(_, page)| page.depth).max().unwrap_or(0);
    println!("{} pages with {links} links, the deepest at {deepest}", all.len());
    Ok(())
}
