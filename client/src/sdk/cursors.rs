//! Cursors of a log: places that are kept under names.
//!
//! Not here: reading on from one (`consumer`).

use reqwest::Method;

use super::client::list_target;
use super::kinds::CursorError;
#[cfg(doc)]
use super::kinds::CursorErrorKind;
use super::log::Log;
use super::transport::Effect;
use crate::api::error::ErrorCode;
use crate::api::logs::{Cursor, CursorBody, CursorList, ListQuery};
use crate::api::{header, paths};
use crate::types::{CursorName, LogId, Position};

impl Log {
    /// The position that a cursor holds, if there is such a cursor.
    ///
    /// ```no_run
    /// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::types::{CursorName, Position};
    ///
    /// let billing: CursorName = "billing".parse()?;
    /// log.set_cursor(&billing, Position::new(17)).await?;
    /// println!("{:?}", log.cursor(&billing).await?);
    /// for cursor in log.cursors(&Default::default()).await?.cursors {
    ///     println!("{} at {}", cursor.name, cursor.position);
    /// }
    /// log.delete_cursor(&billing).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cursor(&self, name: &CursorName) -> Result<Option<Position>, CursorError> {
        let call = self.read_call("cursor", paths::cursor(self.name(), name));
        match self.send(&call).await {
            Ok(answer) => Ok(Some(answer.json::<Cursor>()?.position)),
            Err(error) if error.code() == Some(ErrorCode::UnknownCursor) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a position under a name. Not repeated if its outcome is unknown: somebody else may have
    /// moved the cursor since.
    pub async fn set_cursor(
        &self,
        name: &CursorName,
        position: Position,
    ) -> Result<(), CursorError> {
        let target = paths::cursor(self.name(), name);
        let call = self.change_call("set_cursor", Method::PUT, target, Effect::Once);
        self.send(&call.json(&CursorBody { position })).await?;
        Ok(())
    }

    /// Moves a cursor from where it is expected; one that is not there is expected at the first
    /// position. Done as well if it is where it shall be, so it is safe to repeat; refused as
    /// [`Moved`](CursorErrorKind::Moved) if it is somewhere else.
    ///
    /// ```no_run
    /// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::types::Position;
    ///
    /// log.move_cursor(&"billing".parse()?, Position::ZERO, Position::new(17)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn move_cursor(
        &self,
        name: &CursorName,
        from: Position,
        to: Position,
    ) -> Result<(), CursorError> {
        self.move_cursor_of(name, None, from, to).await
    }

    /// The same, if the name still means the log of this id.
    pub(super) async fn move_cursor_of(
        &self,
        name: &CursorName,
        id: Option<LogId>,
        from: Position,
        to: Position,
    ) -> Result<(), CursorError> {
        let target = paths::cursor(self.name(), name);
        let call = self.change_call("move_cursor", Method::PUT, target, Effect::Repeatable);
        let mut call = call.header(header::IF_MATCH, &format!("\"{from}\""))?;
        if let Some(id) = id {
            call = call.header(header::LOG_ID, &id.to_string())?;
        }
        match self.send(&call.json(&CursorBody { position: to })).await {
            Err(error) if error.actual().cursor != Some(to) => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Deletes a cursor.
    pub async fn delete_cursor(&self, name: &CursorName) -> Result<(), CursorError> {
        let target = paths::cursor(self.name(), name);
        let call = self.change_call("delete_cursor", Method::DELETE, target, Effect::Once);
        self.send(&call).await?;
        Ok(())
    }

    /// One page of the log's cursors, in the order of names.
    pub async fn cursors(&self, query: &ListQuery) -> Result<CursorList, CursorError> {
        let target = list_target(&paths::cursors(self.name()), query);
        Ok(self.send(&self.read_call("cursors", target)).await?.json()?)
    }
}
