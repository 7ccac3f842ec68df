//! Is what was seen of a replicated counter linearizable?
//!
//! A counter that is only ever raised by one, and answers what it became, orders all calls by itself: the one that made
//! it `n` comes right behind the one that made it `n - 1`, and whoever read `n` stands between the two that made it `n`
//! and `n + 1`. So it is linearizable if no call that had ended before another one began stands behind it in that order, and
//! if every number that was seen was made by a call that had begun by then.
//!
//! Not here: logs (`check`).

use crate::history::Moment;

/// One call, from when it was asked to when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was asked.
    pub asked: Moment,
    /// When it was answered.
    pub answered: Moment,
    /// What it was, and what came of it.
    pub what: What,
}

/// What a call was, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Raised it to this.
    Raised(u64),
    /// Tried to raise it, and does not know.
    Unknown,
    /// Certainly did not raise it.
    NotRaised,
    /// Read this.
    Read(u64),
}

impl Call {
    /// Its place in the order: that of a read lies behind that of the raise that it saw.
    fn place(&self) -> Option<u64> {
        match self.what {
            What::Raised(value) => Some(2 * value),
            What::Read(value) => Some(2 * value + 1),
            What::Unknown | What::NotRaised => None,
        }
    }

    fn is_raise(&self) -> bool {
        matches!(self.what, What::Raised(_) | What::Unknown)
    }
}

/// Every reason why these calls, with the value that is left when all is over, are not linearizable.
pub fn violations(calls: &[Call], last: u64) -> Vec<String> {
    let mut found = Vec::new();
    let placed: Vec<(u64, &Call)> =
        calls.iter().filter_map(|call| Some((call.place()?, call))).collect();
    for (place, call) in &placed {
        for (before, earlier) in &placed {
            // Two reads of one value may stand in any order.
            let is_behind =
                before > place || (before == place && matches!(call.what, What::Raised(_)));
            let is_itself = std::ptr::eq(*call, *earlier);
            if !is_itself && earlier.answered < call.asked && is_behind {
                found.push(format!("{:?} had ended before {:?} began", earlier.what, call.what));
            }
        }
        // Every number up to the one that was seen was made by somebody who had begun.
        let begun = calls.iter().filter(|other| other.is_raise() && other.asked <= call.answered);
        if place / 2 > begun.count() as u64 {
            found.push(format!("{:?} counts more than was begun", call.what));
        }
    }
    let mut raised: Vec<u64> = calls
        .iter()
        .filter_map(|call| if let What::Raised(to) = call.what { Some(to) } else { None })
        .collect();
    raised.sort_unstable();
    let doubled = raised.windows(2).filter(|pair| pair[0] == pair[1]);
    found.extend(doubled.map(|pair| format!("two raised it to {}", pair[0])));
    let unknown = calls.iter().filter(|call| call.what == What::Unknown).count() as u64;
    let known = raised.len() as u64;
    if last < known || last > known + unknown {
        found.push(format!("{last} at the end: {known} raised it, and {unknown} do not know"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn call(asked: u64, answered: u64, what: What) -> Call {
        Call { asked: Moment(asked), answered: Moment(answered), what }
    }

    #[test]
    fn what_can_be_put_in_an_order_is_let_through() {
        let calls = [
            call(0, 10, What::Raised(2)),
            call(1, 5, What::Raised(1)),
            call(2, 9, What::Read(0)),
            call(6, 11, What::Read(1)),
            call(6, 12, What::Unknown),
            call(13, 14, What::Read(3)),
            call(13, 15, What::NotRaised),
        ];
        assert_eq!(violations(&calls, 3), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_cannot_be_is_found() {
        let planted: [(&str, &[Call], u64); 6] = [
            ("a stale read", &[call(0, 1, What::Raised(1)), call(2, 3, What::Read(0))], 1),
            (
                "a read that goes back",
                &[
                    call(0, 9, What::Raised(1)),
                    call(1, 2, What::Read(1)),
                    call(3, 4, What::Read(0)),
                ],
                1,
            ),
            ("raises out of order", &[call(0, 1, What::Raised(2)), call(2, 3, What::Raised(1))], 2),
            ("one raise twice", &[call(0, 5, What::Raised(1)), call(1, 5, What::Raised(1))], 2),
            ("a raise that counts twice", &[call(0, 1, What::Raised(1))], 2),
            ("a raise that was lost", &[call(0, 1, What::Raised(1))], 0),
        ];
        for (what, calls, last) in planted {
            assert!(!violations(calls, last).is_empty(), "{what}");
        }
    }
}
