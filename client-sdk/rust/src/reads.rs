//! Reading: questions that may be asked twice, page by page where answers are long.

use futures::stream::{self, Stream};
use openprod_api::v1;
use tonic::{Request, Response, Status};

use crate::connect::{Client, Workspace};
use crate::error::Error;

/// A request of `openprod.v1` that may be made twice: it changes nothing, or the second time does nothing more.
pub trait Question: Clone + Send + Sync + 'static {
    /// What the node answers.
    type Answer: Send;

    #[doc(hidden)]
    fn ask(
        client: &Client,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

/// A question about one workspace.
pub trait OfWorkspace: Question {
    #[doc(hidden)]
    fn place(&mut self, workspace: &Workspace);

    /// The revision that an answer shows; 0 if it does not say.
    #[doc(hidden)]
    fn revision(answer: &Self::Answer) -> u64;
}

/// A question that is answered page by page.
pub trait Paged: OfWorkspace {
    /// What pages hold.
    type Item: Send;

    #[doc(hidden)]
    fn turn(&mut self, page_token: String);

    #[doc(hidden)]
    fn next_page_token(answer: &Self::Answer) -> &str;

    #[doc(hidden)]
    fn items(answer: Self::Answer) -> Vec<Self::Item>;
}

impl Client {
    /// Asks the node. A lost connection and a passed deadline are retried.
    pub async fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, Error> {
        let call = |deadline| {
            let mut request = Request::new(question.clone());
            request.set_timeout(deadline);
            Q::ask(self, request)
        };
        Ok(self.patience().safely(self.at(), call).await?.into_inner())
    }

    /// The workspaces of the node.
    pub async fn list_workspaces(&self) -> Result<Vec<v1::WorkspaceSummary>, Error> {
        Ok(self.ask(v1::ListWorkspacesRequest {}).await?.workspaces)
    }

    /// The identities that can act on the node, the default first.
    pub async fn identities(&self) -> Result<Vec<v1::Identity>, Error> {
        Ok(self.ask(v1::ListIdentitiesRequest {}).await?.identities)
    }
}

impl Workspace {
    /// Asks about this workspace, at or after everything that this client has written or been shown.
    pub async fn read<Q: OfWorkspace>(&self, mut question: Q) -> Result<Q::Answer, Error> {
        question.place(self);
        let answer = self.client().ask(question).await?;
        self.note(Q::revision(&answer));
        Ok(answer)
    }

    /// Asks about this workspace, page by page.
    pub fn pages<Q: Paged>(&self, question: Q) -> Pages<Q> {
        Pages { workspace: self.clone(), question: Some(question) }
    }

    /// The name, settings and members.
    pub async fn describe(&self) -> Result<v1::GetWorkspaceResponse, Error> {
        self.read(v1::GetWorkspaceRequest::default()).await
    }

    /// The tables.
    pub async fn list_tables(&self) -> Result<Vec<v1::Table>, Error> {
        Ok(self.read(v1::ListTablesRequest::default()).await?.tables)
    }

    /// One table, by its name or key.
    pub async fn table(&self, table: &str) -> Result<v1::Table, Error> {
        let question = v1::GetTableRequest { table: table.to_owned(), ..Default::default() };
        self.present(self.read(question).await?.table)
    }

    /// A record in all its tables.
    pub async fn record(&self, record: &str) -> Result<Vec<v1::Record>, Error> {
        let question = v1::GetRecordRequest { record: record.to_owned(), ..Default::default() };
        Ok(self.read(question).await?.records)
    }

    /// A text or a list that several people may edit at once, whole.
    pub async fn document(&self, record: &str, table: &str, column: &str) -> Result<v1::GetDocumentResponse, Error> {
        self.read(v1::GetDocumentRequest {
            record: record.to_owned(),
            table: table.to_owned(),
            column: column.to_owned(),
            ..Default::default()
        })
        .await
    }

    /// The records of a table.
    pub fn records(&self, table: &str) -> Pages<v1::ListRecordsRequest> {
        self.pages(v1::ListRecordsRequest { table: table.to_owned(), ..Default::default() })
    }

    /// The records that a query finds.
    pub fn query(&self, query: &str) -> Pages<v1::QueryRequest> {
        self.pages(v1::QueryRequest { query: query.to_owned(), ..Default::default() })
    }

    /// The pairs of columns of which somebody said that they hold the same fact, or that they do not.
    pub fn mappings(&self) -> Pages<v1::ListMappingsRequest> {
        self.pages(v1::ListMappingsRequest::default())
    }

    /// The merged records.
    pub fn merges(&self) -> Pages<v1::ListMergesRequest> {
        self.pages(v1::ListMergesRequest::default())
    }

    /// The pairs of records of which somebody said that they are not the same.
    pub fn merge_exceptions(&self) -> Pages<v1::ListMergeExceptionsRequest> {
        self.pages(v1::ListMergeExceptionsRequest::default())
    }

    /// The conflicts that wait for a decision.
    pub fn conflicts(&self) -> Pages<v1::ListConflictsRequest> {
        self.pages(v1::ListConflictsRequest::default())
    }

    /// One of them, by its id, with the revision on which a decision about it is based.
    pub async fn conflict(&self, conflict: &str) -> Result<v1::GetConflictResponse, Error> {
        let which = Some(v1::get_conflict_request::Which::Conflict(conflict.to_owned()));
        self.read(v1::GetConflictRequest { which, ..Default::default() }).await
    }

    /// What this actor can undo or redo, the next bundle first.
    pub fn list_undo(&self, turn: v1::UndoTurn, scope: v1::UndoScope) -> Pages<v1::ListUndoRequest> {
        let actor = self.actor().map(|actor| actor.to_string()).unwrap_or_default();
        self.pages(v1::ListUndoRequest { actor, turn: turn.into(), scope: scope.into(), ..Default::default() })
    }

    fn present<T>(&self, part: Option<T>) -> Result<T, Error> {
        let why = "its answer lacks what was asked for".to_owned();
        part.ok_or_else(|| Error::Failed { at: self.client().at().to_owned(), why })
    }
}

/// The pages of a long answer.
#[derive(Debug, Clone)]
pub struct Pages<Q> {
    workspace: Workspace,
    question: Option<Q>,
}

impl<Q: Paged> Pages<Q> {
    /// The next page; none behind the last. After an error the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Q::Answer>, Error> {
        let Some(question) = self.question.clone() else { return Ok(None) };
        let answer = self.workspace.read(question).await?;
        match Q::next_page_token(&answer) {
            "" => self.question = None,
            token => self.question.iter_mut().for_each(|question| question.turn(token.to_owned())),
        }
        Ok(Some(answer))
    }

    /// All items, one by one, fetched as they are needed.
    pub fn items(self) -> impl Stream<Item = Result<Q::Item, Error>> + Send {
        stream::try_unfold((self, Vec::new().into_iter()), async |(mut pages, mut items)| {
            loop {
                if let Some(item) = items.next() {
                    return Ok(Some((item, (pages, items))));
                }
                match pages.next().await? {
                    Some(page) => items = Q::items(page).into_iter(),
                    None => return Ok(None),
                }
            }
        })
    }

    /// All items at once.
    pub async fn all(mut self) -> Result<Vec<Q::Item>, Error> {
        let mut items = Vec::new();
        while let Some(page) = self.next().await? {
            items.extend(Q::items(page));
        }
        Ok(items)
    }
}

macro_rules! questions {
    ($($client:ident.$method:ident: $request:ident => $answer:ident;)*) => {$(
        impl Question for v1::$request {
            type Answer = v1::$answer;
            async fn ask(client: &Client, request: Request<Self>) -> Result<Response<v1::$answer>, Status> {
                client.$client().$method(request).await
            }
        }
    )*};
}

questions! {
    nodes.get_info: GetInfoRequest => GetInfoResponse;
    nodes.get_status: GetStatusRequest => GetStatusResponse;
    nodes.run_diagnostics: RunDiagnosticsRequest => RunDiagnosticsResponse;
    nodes.list_identities: ListIdentitiesRequest => ListIdentitiesResponse;
    nodes.export_identity: ExportIdentityRequest => ExportIdentityResponse;
    nodes.import_identity: ImportIdentityRequest => ImportIdentityResponse;
    nodes.set_default_identity: SetDefaultIdentityRequest => SetDefaultIdentityResponse;
    peers.list_peers: ListPeersRequest => ListPeersResponse;
    peers.list_nearby: ListNearbyRequest => ListNearbyResponse;
    peers.add_peer: AddPeerRequest => AddPeerResponse;
    peers.forget_peer: ForgetPeerRequest => ForgetPeerResponse;
    peers.resume_sync: ResumeSyncRequest => ResumeSyncResponse;
    peers.pause_sync: PauseSyncRequest => PauseSyncResponse;
    access.create_token: CreateTokenRequest => CreateTokenResponse;
    access.list_tokens: ListTokensRequest => ListTokensResponse;
    access.revoke_token: RevokeTokenRequest => RevokeTokenResponse;
    access.get_certificate: GetCertificateRequest => GetCertificateResponse;
    workspaces.list_workspaces: ListWorkspacesRequest => ListWorkspacesResponse;
    workspaces.get_workspace: GetWorkspaceRequest => GetWorkspaceResponse;
    tables.list_tables: ListTablesRequest => ListTablesResponse;
    tables.get_table: GetTableRequest => GetTableResponse;
    tables.get_record: GetRecordRequest => GetRecordResponse;
    tables.list_records: ListRecordsRequest => ListRecordsResponse;
    tables.query: QueryRequest => QueryResponse;
    tables.explain_cell: ExplainCellRequest => ExplainCellResponse;
    tables.list_mappings: ListMappingsRequest => ListMappingsResponse;
    tables.list_merges: ListMergesRequest => ListMergesResponse;
    tables.list_merge_exceptions: ListMergeExceptionsRequest => ListMergeExceptionsResponse;
    tables.get_document: GetDocumentRequest => GetDocumentResponse;
    commands.list_undo: ListUndoRequest => ListUndoResponse;
    conflicts.list_conflicts: ListConflictsRequest => ListConflictsResponse;
    conflicts.get_conflict: GetConflictRequest => GetConflictResponse;
    events.set_presence: SetPresenceRequest => SetPresenceResponse;
    events.list_presence: ListPresenceRequest => ListPresenceResponse;
    edges.list_edges: ListEdgesRequest => ListEdgesResponse;
    edges.get_edge: GetEdgeRequest => GetEdgeResponse;
    history.list_bundles: ListBundlesRequest => ListBundlesResponse;
    history.get_bundle: GetBundleRequest => GetBundleResponse;
    overlays.create_overlay: CreateOverlayRequest => CreateOverlayResponse;
    overlays.list_overlays: ListOverlaysRequest => ListOverlaysResponse;
    overlays.get_overlay: GetOverlayRequest => GetOverlayResponse;
    overlays.rename_overlay: RenameOverlayRequest => RenameOverlayResponse;
    overlays.activate_overlay: ActivateOverlayRequest => ActivateOverlayResponse;
    overlays.deactivate_overlay: DeactivateOverlayRequest => DeactivateOverlayResponse;
    overlays.stash_overlay: StashOverlayRequest => StashOverlayResponse;
    overlays.recall_overlay: RecallOverlayRequest => RecallOverlayResponse;
    overlays.discard_overlay: DiscardOverlayRequest => DiscardOverlayResponse;
    overlays.preview_overlay: PreviewOverlayRequest => PreviewOverlayResponse;
    overlays.list_drift: ListDriftRequest => ListDriftResponse;
    overlays.keep_mine: KeepMineRequest => KeepMineResponse;
    overlays.use_canonical: UseCanonicalRequest => UseCanonicalResponse;
    overlays.knock_out: KnockOutRequest => KnockOutResponse;
    overlays.undo_staged: UndoStagedRequest => UndoStagedResponse;
    overlays.redo_staged: RedoStagedRequest => RedoStagedResponse;
    blobs.get_thumbnail: GetThumbnailRequest => GetThumbnailResponse;
    blobs.stat_blob: StatBlobRequest => StatBlobResponse;
    blobs.list_blobs: ListBlobsRequest => ListBlobsResponse;
    blobs.pin_blob: PinBlobRequest => PinBlobResponse;
    blobs.unpin_blob: UnpinBlobRequest => UnpinBlobResponse;
    blobs.collect_blobs: CollectBlobsRequest => CollectBlobsResponse;
    invites.create_invite: CreateInviteRequest => CreateInviteResponse;
    invites.list_invites: ListInvitesRequest => ListInvitesResponse;
    invites.revoke_invite: RevokeInviteRequest => RevokeInviteResponse;
    invites.list_join_requests: ListJoinRequestsRequest => ListJoinRequestsResponse;
    invites.approve_join_request: ApproveJoinRequestRequest => ApproveJoinRequestResponse;
    invites.deny_join_request: DenyJoinRequestRequest => DenyJoinRequestResponse;
    invites.recover_workspace: RecoverWorkspaceRequest => RecoverWorkspaceResponse;
    invites.create_recovery_key: CreateRecoveryKeyRequest => CreateRecoveryKeyResponse;
    admin.list_quarantine: ListQuarantineRequest => ListQuarantineResponse;
    admin.get_quarantined: GetQuarantinedRequest => GetQuarantinedResponse;
    admin.retry_quarantined: RetryQuarantinedRequest => RetryQuarantinedResponse;
    admin.take_quarantined: TakeQuarantinedRequest => TakeQuarantinedResponse;
    admin.list_waiting: ListWaitingRequest => ListWaitingResponse;
    admin.skip_quarantined: SkipQuarantinedRequest => SkipQuarantinedResponse;
    admin.export_quarantined: ExportQuarantinedRequest => ExportQuarantinedResponse;
    admin.set_log_level: SetLogLevelRequest => SetLogLevelResponse;
}

macro_rules! of_workspace {
    (
        staged: $($staged:ident),*;
        revised: $($revised:ident),*;
        plain: $($plain:ident),*;
    ) => {
        $(impl OfWorkspace for v1::$staged {
            fn place(&mut self, workspace: &Workspace) {
                self.workspace = workspace.id().to_string();
                self.min_revision = self.min_revision.max(workspace.seen());
                if let Some(overlay) = workspace.overlay().filter(|_| self.overlay.is_empty()) {
                    self.overlay = overlay.to_string();
                }
            }
            fn revision(answer: &Self::Answer) -> u64 {
                answer.revision
            }
        })*
        $(impl OfWorkspace for v1::$revised {
            fn place(&mut self, workspace: &Workspace) {
                self.workspace = workspace.id().to_string();
                self.min_revision = self.min_revision.max(workspace.seen());
            }
            fn revision(answer: &Self::Answer) -> u64 {
                answer.revision
            }
        })*
        $(impl OfWorkspace for v1::$plain {
            fn place(&mut self, workspace: &Workspace) {
                self.workspace = workspace.id().to_string();
            }
            fn revision(_: &Self::Answer) -> u64 {
                0
            }
        })*
    };
}

of_workspace! {
    staged: GetWorkspaceRequest, ListTablesRequest, GetTableRequest, GetRecordRequest, ListRecordsRequest, QueryRequest,
        ExplainCellRequest, GetDocumentRequest, ListEdgesRequest, GetEdgeRequest, PreviewOverlayRequest, ListDriftRequest;
    revised: ListMappingsRequest, ListMergesRequest, ListMergeExceptionsRequest, ListBundlesRequest,
        ListUndoRequest, ListConflictsRequest, GetConflictRequest;
    plain: GetBundleRequest, ListQuarantineRequest, GetQuarantinedRequest, RetryQuarantinedRequest,
        SkipQuarantinedRequest, ExportQuarantinedRequest, CreateOverlayRequest, ListOverlaysRequest, GetOverlayRequest,
        RenameOverlayRequest, ActivateOverlayRequest, DeactivateOverlayRequest, StashOverlayRequest,
        RecallOverlayRequest, DiscardOverlayRequest, KeepMineRequest, UseCanonicalRequest, KnockOutRequest,
        UndoStagedRequest, RedoStagedRequest, GetThumbnailRequest, StatBlobRequest, ListBlobsRequest, PinBlobRequest,
        UnpinBlobRequest, CollectBlobsRequest, CreateInviteRequest, ListInvitesRequest, RevokeInviteRequest,
        ListJoinRequestsRequest, ApproveJoinRequestRequest, DenyJoinRequestRequest, CreateRecoveryKeyRequest,
        TakeQuarantinedRequest, ListWaitingRequest, SetPresenceRequest, ListPresenceRequest,
        PauseSyncRequest, ResumeSyncRequest;
}

macro_rules! paged {
    ($($request:ident: $items:ident of $item:ident;)*) => {$(
        impl Paged for v1::$request {
            type Item = v1::$item;
            fn turn(&mut self, page_token: String) {
                self.page_token = page_token;
            }
            fn next_page_token(answer: &Self::Answer) -> &str {
                &answer.next_page_token
            }
            fn items(answer: Self::Answer) -> Vec<v1::$item> {
                answer.$items
            }
        }
    )*};
}

paged! {
    ListRecordsRequest: records of Record;
    QueryRequest: records of Record;
    ExplainCellRequest: history of CellWrite;
    ListMappingsRequest: mappings of Mapping;
    ListMergesRequest: records of MergedRecord;
    ListMergeExceptionsRequest: exceptions of MergeException;
    ListEdgesRequest: edges of Edge;
    ListBundlesRequest: bundles of BundleInfo;
    ListUndoRequest: items of UndoItem;
    ListConflictsRequest: conflicts of Conflict;
    GetBundleRequest: ops of OpInfo;
    ListQuarantineRequest: items of Quarantined;
    ListWaitingRequest: items of WaitingBundle;
    PreviewOverlayRequest: differences of Difference;
    ListDriftRequest: drift of DriftedCell;
    ListBlobsRequest: blobs of Blob;
}
