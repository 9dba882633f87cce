//! The demo: a small show, imported into a workspace of its own by the same road as any other import.

use openprod_client::{Client, Workspace};
use openprod_model::ids::WorkspaceId;
use serde::Deserialize;

use crate::cli::columns;
use crate::cli::error::CliError;
use crate::cli::import::{ImportSpec, LinkBy, LinkSpec, import_bytes};

const MANIFEST: &str = include_str!("../../modules/demo/demo.toml");
const FILES: [(&str, &str); 4] = [
    ("people.csv", include_str!("../../modules/demo/people.csv")),
    ("scenes.csv", include_str!("../../modules/demo/scenes.csv")),
    ("cues.csv", include_str!("../../modules/demo/cues.csv")),
    ("schedule.csv", include_str!("../../modules/demo/schedule.csv")),
];

/// `demo.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    import: Vec<Import>,
}

/// One file of the demo, and how it is imported.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    file: String,
    table: String,
    key: Vec<String>,
    #[serde(default, rename = "type")]
    types: Vec<(String, String)>,
    #[serde(default)]
    link: Vec<(String, String)>,
}

/// Opens the demo's workspace, making and filling it if it is not there. Gives its name.
pub async fn open(client: &Client) -> Result<String, CliError> {
    let manifest: Manifest = toml::from_str(MANIFEST).map_err(|error| CliError::failed(error.message()))?;
    let known = client.list_workspaces().await?;
    if known.iter().all(|workspace| workspace.name != manifest.name) {
        let made = client.create_workspace(&manifest.name, None).await?;
        let id: WorkspaceId = made.workspace.parse().map_err(|_| CliError::failed("The node gave no id."))?;
        fill(&client.workspace(id), &manifest.import).await?;
    }
    Ok(manifest.name)
}

async fn fill(workspace: &Workspace, imports: &[Import]) -> Result<(), CliError> {
    for import in imports {
        let file = FILES.iter().find(|(name, _)| *name == import.file);
        let (name, text) = file.ok_or_else(|| CliError::failed(format!("The demo lacks {}.", import.file)))?;
        import_bytes(workspace, name, text.as_bytes(), &import.spec()?).await?;
    }
    Ok(())
}

impl Import {
    fn spec(&self) -> Result<ImportSpec, CliError> {
        let typed = |(column, kind): &(String, String)| Ok((column.clone(), columns::field_type(kind)?));
        let link = |(column, table): &(String, String)| LinkSpec {
            column: column.clone(),
            table: table.clone(),
            by: LinkBy::Name,
        };
        Ok(ImportSpec {
            table: self.table.clone(),
            keys: self.key.clone(),
            types: self.types.iter().map(typed).collect::<Result<_, CliError>>()?,
            links: self.link.iter().map(link).collect(),
            ..ImportSpec::default()
        })
    }
}
