//! The way to the service: a client of the SDK, and what its errors mean on a command line.
//!
//! Invariant: the exit code follows the three answers of the contract: an outcome that is not known
//! is never reported as not done.

use client::api::error::{ErrorCode, Problem};
use client::types::{LogName, ReplicaAddr};
use client::{Client, Error, Outcome, RetryPolicy};

use super::endpoint;
use super::records::unknown_log;
use super::{Context, Exit, Failure};

/// A client of the replicas that the command is meant for.
pub(super) fn connect(context: &Context) -> Result<Client, Failure> {
    connect_to(endpoint::resolve(&context.endpoints)?, context)
}

/// A client of these replicas.
pub(super) fn connect_to(addrs: Vec<ReplicaAddr>, context: &Context) -> Result<Client, Failure> {
    let policy = RetryPolicy { deadline: context.timeout, ..RetryPolicy::default() };
    let mut builder = Client::builder().retry(policy);
    if let Some(author) = &context.author {
        builder = builder.author(author).map_err(failed)?;
    }
    for addr in addrs {
        builder = builder.seed(addr);
    }
    builder.build().map_err(failed)
}

/// What an error of the SDK means here.
pub(super) fn failed(error: impl Into<Error>) -> Failure {
    failure(&error.into(), None)
}

/// The same, of a command about one log.
pub(super) fn failed_on(log: &LogName, error: impl Into<Error>) -> Failure {
    let error = error.into();
    if is_unknown_log(&error) { unknown_log(log) } else { failure(&error, Some(log)) }
}

fn failure(error: &Error, log: Option<&LogName>) -> Failure {
    if error.outcome() == Outcome::Unknown {
        return Failure::new(Exit::Unknown, "it is not known whether this happened")
            .because(error)
            .hint("quorate cluster status   # then look before you repeat it");
    }
    match &error.failure() {
        client::Failure::Refused(problem) => refused(problem, log),
        client::Failure::Usage(reason) => Failure::usage(reason.clone()),
        client::Failure::NoTls(addr) => {
            Failure::usage(format!("{addr} is encrypted, and commands speak plain HTTP only"))
                .hint("--endpoint http://HOST:PORT   # of a replica, or of a tunnel to it")
        }
        client::Failure::Status { .. } | client::Failure::Protocol(_) => {
            Failure::new(Exit::Failed, "the service answers something else than a replica would")
                .because(error)
        }
        client::Failure::Transport(_) | client::Failure::TimedOut | _ => {
            Failure::new(Exit::Unavailable, "no replica answers")
                .because(error)
                .hint("quorate demo   # or say --endpoint http://HOST:PORT")
        }
    }
}

/// Whether the log that was meant does not exist.
pub(super) fn is_unknown_log<K>(error: &Error<K>) -> bool {
    error.code() == Some(ErrorCode::UnknownLog)
}

fn refused(problem: &Problem, log: Option<&LogName>) -> Failure {
    let mut failure = Failure::new(exit(problem), problem.title.to_lowercase());
    failure.why.clone_from(&problem.detail);
    failure.next = match (next(problem.code), log) {
        (Some(Next::Command(command)), _) => Some(command.to_owned()),
        (Some(Next::OnLog(begin, end)), Some(log)) => Some(format!("{begin} {log}{end}")),
        (Some(Next::OnLog(..)), None) | (None, _) => None,
    };
    failure
}

/// What to type after a refusal.
#[derive(Clone, Copy)]
enum Next {
    /// This.
    Command(&'static str),
    /// This, with the name of the log in between.
    OnLog(&'static str, &'static str),
}

/// What to type after a refusal, where there is something.
fn next(code: ErrorCode) -> Option<Next> {
    const NEXT: &[(ErrorCode, Next)] = &[
        (ErrorCode::NoLeader, Next::Command("quorate cluster status")),
        (ErrorCode::NoQuorum, Next::Command("quorate cluster status")),
        (ErrorCode::NotMember, Next::Command("quorate cluster status")),
        (ErrorCode::UnknownLog, Next::Command("quorate logs list")),
        (ErrorCode::UnknownJoiner, Next::Command("quorate cluster joiners")),
        (ErrorCode::UnknownChange, Next::Command("quorate cluster changes")),
        (ErrorCode::ChangeUnderWay, Next::Command("quorate cluster watch")),
        (ErrorCode::ChangeIsJoint, Next::Command("quorate cluster watch")),
        (ErrorCode::ChangeEnded, Next::Command("quorate cluster changes")),
        (ErrorCode::LogDiffers, Next::OnLog("quorate logs show", "")),
        (ErrorCode::Trimmed, Next::OnLog("quorate read", " --from first")),
        (ErrorCode::BeyondTail, Next::OnLog("quorate follow", " --from tail")),
    ];
    NEXT.iter().find(|(of, _)| *of == code).map(|(_, next)| *next)
}

/// The exit code of a refusal, by its kind; codes of a later version by their status.
fn exit(problem: &Problem) -> Exit {
    match problem.status {
        _ if matches!(problem.code, ErrorCode::PlanBlocked | ErrorCode::OverrideMissing) => {
            Exit::Unsafe
        }
        404 | 410 => Exit::NotFound,
        409 | 412 | 416 | 403 => Exit::Condition,
        400 | 405 | 406 | 413 | 415 | 422 | 431 => Exit::Usage,
        408 | 429 | 503 => Exit::Unavailable,
        504 => Exit::Unknown,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_exit_code_that_fits() {
        let exits = [
            (ErrorCode::UnknownLog, Exit::NotFound),
            (ErrorCode::UnknownCursor, Exit::NotFound),
            (ErrorCode::UnknownCheckpoint, Exit::NotFound),
            (ErrorCode::UnknownTransfer, Exit::NotFound),
            (ErrorCode::Trimmed, Exit::NotFound),
            (ErrorCode::TailDiffers, Exit::Condition),
            (ErrorCode::CursorDiffers, Exit::Condition),
            (ErrorCode::Fenced, Exit::Condition),
            (ErrorCode::LogSealed, Exit::Condition),
            (ErrorCode::LogDiffers, Exit::Condition),
            (ErrorCode::StalePlan, Exit::Condition),
            (ErrorCode::ChangeUnderWay, Exit::Condition),
            (ErrorCode::UnknownJoiner, Exit::NotFound),
            (ErrorCode::PlanBlocked, Exit::Unsafe),
            (ErrorCode::OverrideMissing, Exit::Unsafe),
            (ErrorCode::InvalidWish, Exit::Usage),
            (ErrorCode::BeyondTail, Exit::Condition),
            (ErrorCode::RecordTooLarge, Exit::Usage),
            (ErrorCode::InvalidBody, Exit::Usage),
            (ErrorCode::NoLeader, Exit::Unavailable),
            (ErrorCode::Overloaded, Exit::Unavailable),
            (ErrorCode::OutcomeUnknown, Exit::Unknown),
            (ErrorCode::Internal, Exit::Failed),
        ];
        for (code, expected) in exits {
            assert_eq!(exit(&Problem::new(code)), expected, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_to_type() {
        let problem =
            Problem::new(ErrorCode::NoLeader).with_detail("the last one was heard 2 s ago");
        let failure = refused(&problem, None);
        assert_eq!(failure.why.as_deref(), Some("the last one was heard 2 s ago"));
        assert_eq!(failure.next.as_deref(), Some("quorate cluster status"));
    }

    #[test]
    fn what_to_type_names_the_log_that_was_meant() {
        let log = LogName::new("shop/orders").unwrap();
        let problem = Problem::new(ErrorCode::Trimmed);
        let next = refused(&problem, Some(&log)).next;
        assert_eq!(next.as_deref(), Some("quorate read shop/orders --from first"));
        assert_eq!(refused(&problem, None).next, None, "no name is better than a wrong one");
    }
}
