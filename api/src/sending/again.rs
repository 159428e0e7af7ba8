//! A task that is run once more: a new call made of what its history knows.

use lovage_database::store::task_run::TaskRun;

use super::literal::{self, Unfit};
use crate::{
    problem::{Code, Problem},
    schema::task::CallBody,
};

/// The call that a recorded task was: its arguments, in its queue. What hung on it (callbacks, the rest of its chain, its
/// chord) is not recorded, and what has come of that is not undone.
///
/// # Errors
/// When it has not ended, or its history knows too little to do the same again.
pub(crate) fn call_of(run: &TaskRun) -> Result<CallBody, Problem> {
    let id = &run.task_id;
    if !run.state.is_ready() {
        let detail = format!("{id} has not ended: it is {}", run.state.as_str());
        return Err(Problem::new(Code::Conflict, detail));
    }
    let unknown = |what: &str| incomplete(format!("{id}: {what} is not recorded"));
    let name = run.name.as_ref().ok_or_else(|| unknown("its name"))?;
    let args = run.args.as_deref().ok_or_else(|| unknown("args"))?;
    let kwargs = run.kwargs.as_deref().ok_or_else(|| unknown("kwargs"))?;
    let unfit =
        |field: &'static str| move |unfit: Unfit| incomplete(reason(id.as_str(), field, &unfit));
    Ok(CallBody {
        args: Some(literal::args(args).map_err(unfit("args"))?),
        kwargs: Some(
            literal::kwargs(kwargs)
                .map_err(unfit("kwargs"))?
                .into_iter()
                .collect(),
        ),
        queue: run.queue.clone(),
        priority: run.priority.map(i64::from),
        ..CallBody::of(name.clone())
    })
}

fn incomplete(detail: String) -> Problem {
    Problem::new(Code::Incomplete, detail)
}

fn reason(id: &str, field: &str, unfit: &Unfit) -> String {
    match unfit {
        Unfit::Cut => format!("{id}: {field} were recorded in part only, being long"),
        Unfit::Hidden => format!("{id}: {field} hold something that is hidden from the history"),
        Unfit::Strange(what) => format!("{id}: {field} hold what JSON cannot say: {what}"),
    }
}
