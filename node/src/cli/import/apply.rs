//! Doing what was prepared.

use openprod_client::{Change, Workspace, v1};
use openprod_model::bundle::{MAX_LABEL_BYTES, MAX_OPS};
use openprod_model::ids::OverlayId;

use super::error::ImportError;
use super::outcome::{ImportOutcome, ImportSummary, StagedImport, Written};
use super::pack::{self, Weight};
use super::prepare::{Prepared, prepare};
use super::spec::{Bundles, ImportSpec};

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many changes of rows and links are written.
    pub done: usize,
    /// How many there are.
    pub of: usize,
}

/// Imports a file: all of it, except what is set aside and named in the outcome.
pub async fn import_bytes(
    workspace: &Workspace,
    file_name: &str,
    bytes: &[u8],
    spec: &ImportSpec,
) -> Result<ImportOutcome, ImportError> {
    let prepared = prepare(workspace, file_name, bytes, spec).await?;
    prepared.apply(workspace, spec.bundles, |_| ()).await
}

impl Prepared {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Refuses what does not fit into the bundles that are allowed.
    pub fn check(&self, bundles: Bundles) -> Result<(), ImportError> {
        let ImportSummary { ops, bytes, .. } = self.summary;
        if bundles == Bundles::Several || (Weight { ops, bytes }).fits() {
            return Ok(());
        }
        Err(ImportError::TooLarge { ops, bytes, max_ops: MAX_OPS, max_bytes: pack::MAX_BYTES })
    }

    /// Writes it, and tells after each bundle how far it has come.
    pub async fn apply<F>(
        self,
        workspace: &Workspace,
        bundles: Bundles,
        mut told: F,
    ) -> Result<ImportOutcome, ImportError>
    where
        F: FnMut(Progress) + Send,
    {
        self.check(bundles)?;
        let Self { summary, commands, defaults, base } = self;
        let (mut done, of) = (0, commands.len());
        let cut = pack::cut(commands, bundles, defaults);
        let (mut written, mut conflicts) = (Vec::new(), Vec::new());
        for (index, commands) in cut.iter().enumerate() {
            let change = Change::new(commands).label(label(&summary, index, cut.len())).import_from(source(&summary));
            let change = base.into_iter().fold(change, Change::base);
            let answer = workspace.execute(&change).await.map_err(|error| match index {
                0 => error.into(),
                done => ImportError::Stopped { done, of: cut.len(), why: Box::new(error) },
            })?;
            written.push(Written { revision: answer.revision, bundle_id: answer.bundle_id });
            conflicts.extend(answer.opened_conflicts.into_iter().map(|conflict| conflict.sentence));
            done += commands.len();
            told(Progress { done, of });
        }
        Ok(ImportOutcome { summary, written, overlay: None, conflicts })
    }

    /// Nothing is done.
    pub fn left(self) -> ImportOutcome {
        ImportOutcome { summary: self.summary, written: Vec::new(), overlay: None, conflicts: Vec::new() }
    }

    /// Stages it as one step: in the overlay through which the workspace is seen, else in one made for the file.
    pub async fn stage(self, workspace: &Workspace) -> Result<ImportOutcome, ImportError> {
        self.check(Bundles::One)?;
        let overlay = match workspace.overlay() {
            Some(overlay) => told(workspace, overlay).await?,
            None => make(workspace, &self.summary).await?,
        };
        let id = overlay.overlay.parse().map_err(|_| ImportError::unknown("The node gave an overlay no id.", ""))?;
        let Self { summary, commands, base, .. } = self;
        let change = Change::new(&commands).label(label(&summary, 0, 1)).import_from(source(&summary));
        let change = base.into_iter().fold(change, Change::base);
        match workspace.clone().through(id).execute(&change).await {
            Ok(answer) => {
                let conflicts = answer.opened_conflicts.into_iter().map(|conflict| conflict.sentence).collect();
                let at = StagedImport { overlay: overlay.overlay, name: overlay.name };
                Ok(ImportOutcome { summary, written: Vec::new(), overlay: Some(at), conflicts })
            }
            Err(error) => {
                if workspace.overlay().is_none() {
                    // It holds nothing; should this fail too, an empty overlay stays, and the list shows it.
                    let _ = workspace.discard_overlay(id).await;
                }
                Err(error.into())
            }
        }
    }
}

async fn told(workspace: &Workspace, overlay: OverlayId) -> Result<v1::Overlay, ImportError> {
    let question = v1::GetOverlayRequest { overlay: overlay.to_string(), ..Default::default() };
    Ok(workspace.read(question).await?.overlay.unwrap_or_default())
}

/// An overlay that is called like the file, with a number if there is one already.
async fn make(workspace: &Workspace, summary: &ImportSummary) -> Result<v1::Overlay, ImportError> {
    const NAME_BYTES: usize = 150;
    let taken: Vec<String> = workspace.list_overlays().await?.into_iter().map(|overlay| overlay.name).collect();
    let base = plain(&start(&summary.file_name, NAME_BYTES));
    let numbered = (1_u32..).map(|n| if n == 1 { base.clone() } else { format!("{base} {n}") });
    let name = numbered.into_iter().find(|name| !taken.contains(name)).expect("numbers do not end");
    Ok(workspace.create_overlay(&name, &plain(&label(summary, 0, 1)), Some(source(summary))).await?)
}

/// Names and labels hold no control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn source(summary: &ImportSummary) -> v1::Source {
    let name = start(&summary.file_name, MAX_LABEL_BYTES);
    v1::Source { kind: v1::SourceKind::File.into(), name, hash: summary.hash.clone() }
}

fn label(summary: &ImportSummary, index: usize, of: usize) -> String {
    const COUNT_BYTES: usize = 40;
    let label = format!("Import {} into {}", summary.file_name, summary.table);
    let label = start(&label, MAX_LABEL_BYTES - COUNT_BYTES);
    if of > 1 { format!("{label} ({} of {of})", index + 1) } else { label }
}

/// As much of the start of a text as fits, without NUL, which no text may hold.
fn start(text: &str, max_bytes: usize) -> String {
    const SIGN: &str = "…";
    let text = text.replace('\0', "");
    if text.len() <= max_bytes {
        return text;
    }
    let end = text.floor_char_boundary(max_bytes - SIGN.len());
    format!("{}{SIGN}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::summary;
    use super::*;

    #[test]
    fn a_label_says_what_came_whither_and_fits() {
        assert_eq!(label(&summary(), 0, 1), "Import cues.csv into cues");
        assert_eq!(label(&summary(), 1, 9), "Import cues.csv into cues (2 of 9)");
        let long = ImportSummary { file_name: "🎭".repeat(200), ..summary() };
        let label = label(&long, 99_998, 99_999);
        assert!(label.len() <= MAX_LABEL_BYTES && label.ends_with("… (99999 of 99999)"), "{label}");
    }

    #[test]
    fn an_import_may_run_beside_others() {
        fn assert_send<T: Send>(_: impl Fn(&'static Workspace, &'static ImportSpec) -> T) {}
        assert_send(|workspace, spec| import_bytes(workspace, "cues.csv", b"cue\n1\n", spec));
    }
}
