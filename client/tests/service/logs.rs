//! A service that keeps logs as the real one does, and loses what it is told to lose.
//!
//! Conditions, producers, trims and reads are those of the contract; there is one replica, and nothing is durable.
//!
//! Not here: real replicas (`e2e`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quorate_client::api::conditions::Conditions;
use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::frame::{ReadFrameBuilder, read_append};
use quorate_client::api::logs::{Dropped, LogDescription, Settings, TrimRequest};
use quorate_client::api::media;
use quorate_client::api::reading::ReadFrom;
use quorate_client::api::records::Appended;
use quorate_client::api::resume::ResumeToken;
use quorate_client::types::{
    Batch, BatchLimits, Digest, Generation, LogId, LogName, NewRecord, Position, ProducerEpoch,
    Record, ReplicaAddr, Sequence, Timestamp,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::service::{Asked, answer, read_request};

/// What is done to one request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    None,
    /// It gets lost.
    Lost,
    /// It is refused for the moment.
    Refused,
    /// It is done, and its answer gets lost.
    Unanswered,
    /// Its caller is told that nobody knows, and it is never done.
    Doubtful,
    /// Its caller is told that nobody knows, and it is done later.
    Late,
}

type Plan = Box<dyn FnMut(&Asked) -> Harm + Send>;
type Refusal = Box<Problem>;

/// One log.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    /// How often the cluster was recovered.
    pub(crate) generation: u32,
    pub(crate) first: u64,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) is_sealed: bool,
    pub(crate) settings: Settings,
    producers: HashMap<String, (u64, Vec<Stored>)>,
}

/// Where a batch of a producer begins, and its bytes.
type Stored = (u64, Vec<u8>);

impl Kept {
    fn tail(&self) -> u64 {
        self.records.len() as u64
    }

    fn describe(&self, log: &LogName) -> LogDescription {
        LogDescription {
            log: log.clone(),
            log_id: LogId::new(self.id),
            created: Timestamp::EPOCH,
            first: Position::new(self.first),
            tail: Position::new(self.tail()),
            bytes: 0,
            last_time: None,
            sealed: self.is_sealed,
            fence: None,
            settings: self.settings.clone(),
            root: Digest::default(),
        }
    }

    /// As the machine of a replica does.
    fn append(&mut self, asked: &Asked) -> Result<(u64, u64), Refusal> {
        let conditions = Conditions::from_headers(|name| asked.header(name)).unwrap();
        let limits = BatchLimits::default();
        let body = Bytes::from(asked.body.clone());
        let batch = match asked.header("content-type") {
            Some(media::FRAMES) => read_append(body, &limits).ok(),
            _ => Batch::single(&NewRecord::new(body), &limits).ok(),
        };
        let batch = batch.ok_or_else(|| refusal(ErrorCode::BatchTooLarge))?;
        let producer = conditions.producer.expect("the SDK appends as a producer");
        let (epoch, sequence) = (producer.epoch.get(), producer.sequence.get());
        let known = self.producers.get(producer.id.as_str()).filter(|(known, _)| *known >= epoch);
        let batches = match known {
            Some((known, _)) if *known > epoch => {
                let producer_epoch = Some(ProducerEpoch::new(*known));
                let actual = Actual { producer_epoch, ..Actual::default() };
                return Err(Box::new(
                    Problem::new(ErrorCode::ProducerEpochOld).with_actual(actual),
                ));
            }
            Some((_, batches)) => &batches[..],
            None => &[],
        };
        let expected = batches.len() as u64;
        if sequence > expected {
            let expected_sequence = Some(Sequence::new(expected));
            let actual = Actual { expected_sequence, ..Actual::default() };
            return Err(Box::new(Problem::new(ErrorCode::SequenceGap).with_actual(actual)));
        }
        if let Some((first, body)) = batches.get(usize::try_from(sequence).unwrap()) {
            let is_same = *body == asked.body;
            let next = first + u64::from(batch.count());
            return if is_same {
                Ok((*first, next))
            } else {
                Err(refusal(ErrorCode::SequenceBodyDiffers))
            };
        }
        if self.is_sealed {
            return Err(refusal(ErrorCode::LogSealed));
        }
        if conditions.tail.is_some_and(|tail| tail.get() != self.tail()) {
            return Err(refusal(ErrorCode::TailDiffers));
        }
        let first = self.store(&batch);
        let known = self.producers.entry(producer.id.to_string()).or_default();
        if known.0 < epoch {
            *known = (epoch, Vec::new());
        }
        known.1.push((first, asked.body.clone()));
        Ok((first, self.tail()))
    }

    fn store(&mut self, batch: &Batch) -> u64 {
        let first = self.tail();
        self.records.extend(batch.records());
        first
    }
}

fn refusal(code: ErrorCode) -> Refusal {
    Box::new(Problem::new(code))
}

/// Logs behind a real socket.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) addr: ReplicaAddr,
    logs: Arc<Mutex<BTreeMap<String, Kept>>>,
    plan: Arc<Mutex<Plan>>,
    news: watch::Sender<()>,
}

impl Service {
    pub(crate) async fn start(plan: impl FnMut(&Asked) -> Harm + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (logs, plan) = (Arc::default(), Arc::new(Mutex::new(Box::new(plan) as Plan)));
        let service = Self { addr, logs, plan, news: watch::Sender::new(()) };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        service
    }

    /// From now on this is done to requests that change something.
    pub(crate) fn now(&self, plan: impl FnMut(&Asked) -> Harm + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.logs.lock().unwrap()
    }

    /// Changes a log behind everybody's back.
    pub(crate) fn change<R>(&self, log: &str, change: impl FnOnce(&mut Kept) -> R) -> R {
        let changed = change(self.logs().get_mut(log).unwrap());
        self.news.send_replace(());
        changed
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some(asked) = read_request(&mut stream).await {
            let is_change = !asked.line.starts_with("GET ");
            let harm = if is_change { (self.plan.lock().unwrap())(&asked) } else { Harm::None };
            let code = match harm {
                Harm::Lost => return,
                Harm::Refused => Some(ErrorCode::NoLeader),
                Harm::Doubtful | Harm::Late => Some(ErrorCode::OutcomeUnknown),
                Harm::None | Harm::Unanswered => None,
            };
            if let Some(code) = code {
                refuse(&mut stream, &Problem::new(code)).await;
                if harm == Harm::Late {
                    sleep(Duration::from_millis(30)).await;
                    drop(self.done(&asked));
                }
                continue;
            }
            if asked.line.starts_with("GET ") && asked.line.contains("/records?") {
                self.read(&mut stream, &asked).await;
                continue;
            }
            let done = self.done(&asked);
            match done {
                _ if harm == Harm::Unanswered => return,
                Ok((status, body)) => answer(&mut stream, status, &[], body.as_bytes()).await,
                Err(problem) => refuse(&mut stream, &problem).await,
            }
        }
    }

    fn done(&self, asked: &Asked) -> Result<(u16, String), Refusal> {
        let (method, path, log) = target(asked);
        let mut logs = self.logs();
        let next_id = logs.values().map(|kept| kept.id).max().unwrap_or(0) + 1;
        if method == "PUT" {
            let is_new = !logs.contains_key(log.as_str());
            let new = || Kept { id: next_id, ..Kept::default() };
            let kept = logs.entry(log.to_string()).or_insert_with(new);
            return Ok((if is_new { 201 } else { 200 }, json(&kept.describe(&log))));
        }
        let kept = found(&mut logs, &log, asked)?;
        let (log_id, time) = (LogId::new(kept.id), Timestamp::EPOCH);
        let body = if method == "GET" {
            json(&kept.describe(&log))
        } else if path.ends_with("/records") {
            let (first, next) = kept.append(asked)?;
            let (first, next) = (Position::new(first), Position::new(next));
            self.news.send_replace(());
            json(&Appended { log, log_id, first, next, tail: next, time, replayed: false })
        } else if path.ends_with("/trim") {
            let to = serde_json::from_slice::<TrimRequest>(&asked.body).unwrap().to.get();
            if to > kept.tail() {
                return Err(refusal(ErrorCode::BeyondTail));
            }
            kept.first = kept.first.max(to);
            let (first, tail) = (Position::new(kept.first), Position::new(kept.tail()));
            json(&Dropped { log, log_id, first, tail, records: 0, bytes: 0, dry_run: false })
        } else {
            panic!("{} is not asked here", asked.line)
        };
        Ok((200, body))
    }

    async fn read(&self, stream: &mut TcpStream, asked: &Asked) {
        let (_, path, log) = target(asked);
        let value = |name: &str| {
            let pairs = path.split_once('?').unwrap().1.split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
        };
        let mut news = self.news.subscribe();
        let from: ReadFrom = value("from").unwrap().1.replace("%2D", "-").parse().unwrap();
        let limit = value("limit").map_or(100, |(_, limit)| limit.parse().unwrap());
        loop {
            let page = self.page(&log, asked, from, limit);
            match page {
                Ok((_, _, true)) if value("wait").is_some() => {
                    let waited = timeout(Duration::from_secs(1), news.changed()).await;
                    if waited.is_ok() {
                        continue;
                    }
                    let (headers, body, _) = self.page(&log, asked, from, limit).unwrap();
                    return answer(stream, 200, &headers, &body).await;
                }
                Ok((headers, body, _)) => return answer(stream, 200, &headers, &body).await,
                Err(problem) => return refuse(stream, &problem).await,
            }
        }
    }

    fn page(
        &self,
        log: &LogName,
        asked: &Asked,
        from: ReadFrom,
        limit: u64,
    ) -> Result<Page, Refusal> {
        let mut logs = self.logs();
        let kept = found(&mut logs, log, asked)?;
        let (first, tail) = (kept.first, kept.tail());
        let from = match from {
            ReadFrom::Position(position) => position.get(),
            ReadFrom::Last(count) => tail.saturating_sub(count).max(first),
            ReadFrom::First => first,
            ReadFrom::Tail | ReadFrom::Time(_) => tail,
        };
        if from < first {
            return Err(refusal(ErrorCode::Trimmed));
        }
        if from > tail {
            return Err(refusal(ErrorCode::BeyondTail));
        }
        let next = tail.min(from + limit);
        let mut frame = ReadFrameBuilder::new(Position::new(from), 0);
        for position in from..next {
            let NewRecord { headers, body } =
                kept.records[usize::try_from(position).unwrap()].clone();
            let position = Position::new(position);
            frame.push(&Record { position, time: Timestamp::EPOCH, headers, body });
        }
        let is_empty = from == next;
        let body = if is_empty { Vec::new() } else { frame.finish().to_vec() };
        let generation = Generation { number: kept.generation, random: 7 };
        let (log_id, next_token) = (LogId::new(kept.id), Position::new(next));
        let token = ResumeToken { generation, log_id, next: next_token };
        let headers = vec![
            ("etag", format!("W/\"{token}.{from}\"")),
            ("quorate-log-id", kept.id.to_string()),
            ("quorate-first", first.to_string()),
            ("quorate-next", next.to_string()),
            ("quorate-tail", tail.to_string()),
            ("quorate-sealed", kept.is_sealed.to_string()),
        ];
        Ok((headers, body, is_empty && !kept.is_sealed))
    }
}

/// Headers, a body, and whether it is worth to wait for more.
type Page = (Vec<(&'static str, String)>, Vec<u8>, bool);

fn found<'a>(
    logs: &'a mut BTreeMap<String, Kept>,
    log: &LogName,
    asked: &Asked,
) -> Result<&'a mut Kept, Refusal> {
    let kept = logs.get_mut(log.as_str()).ok_or_else(|| refusal(ErrorCode::UnknownLog))?;
    let is_meant = asked.header("quorate-log-id").is_none_or(|id| id == kept.id.to_string());
    if is_meant { Ok(kept) } else { Err(refusal(ErrorCode::LogIdDiffers)) }
}

fn target(asked: &Asked) -> (&str, &str, LogName) {
    let mut words = asked.line.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let name = path.strip_prefix("/v1/logs/").expect("only logs are asked for");
    let name = name.split(['/', '?']).next().unwrap();
    (method, path, name.parse().unwrap())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

async fn refuse(stream: &mut TcpStream, problem: &Problem) {
    answer(stream, problem.status, &[], &serde_json::to_vec(problem).unwrap()).await;
}
