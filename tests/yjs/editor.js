// An editor: a Y.Doc that is bound to a document or a sequence of a node, over gRPC.
//
// What the node tells is applied as it comes; what is done to the Y.Doc goes to the node as one update for each
// transaction, in order, each under a command id of its own, so that a retry does no harm.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import * as Y from 'yjs'

const FILES = ['command_service', 'event_service', 'table_service', 'workspace_service']

/** Connects to a node. */
export function connect (protos, address, tokenFile) {
  const files = FILES.map(file => `openprod/v1/${file}.proto`)
  const options = { includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }
  const { openprod: { v1 } } = loadPackageDefinition(loadSync(files, options))
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`)
  const service = name => new v1[name](address, credentials.createInsecure())
  const call = client => (method, request) => new Promise((resolve, reject) =>
    client[method](request, metadata, { deadline: Date.now() + 30_000 }, (error, answer) => error ? reject(error) : resolve(answer)))
  const events = service('EventService')
  return {
    commands: call(service('CommandService')),
    tables: call(service('TableService')),
    workspaces: call(service('WorkspaceService')),
    watch: request => events.Watch(request, metadata)
  }
}

export class Editor {
  /** Binds a fresh Y.Doc to a field: `{ workspace, record, table, column }`. */
  static async open (node, field) {
    const editor = new Editor(node, field)
    await editor.load()
    editor.follow()
    return editor
  }

  constructor (node, field) {
    this.node = node
    this.field = field
    this.doc = new Y.Doc()
    this.revision = 0
    this.sending = Promise.resolve()
    this.isAway = false
    this.doc.on('update', (update, origin) => { if (origin !== this) this.send(update) })
  }

  get text () { return this.doc.getText('text') }
  get list () { return this.doc.getArray('list') }

  /** Reads what this editor lacks. */
  async load () {
    const known = Y.encodeStateVector(this.doc)
    const answer = await this.node.tables('GetDocument', { ...this.field, state_vector: known })
    Y.applyUpdate(this.doc, answer.update, this)
    this.revision = Math.max(this.revision, answer.revision)
  }

  follow () {
    const { workspace, record, column } = this.field
    this.stream = this.node.watch({ workspace, revision: this.revision })
    this.stream.on('error', () => {})
    this.stream.on('data', ({ batch }) => {
      for (const change of batch?.documents ?? []) {
        if (change.record !== record || change.column !== column) continue
        for (const update of change.updates) Y.applyUpdate(this.doc, update, this)
        if (change.reload) this.sending = this.sending.then(() => this.load())
      }
      if (batch) this.revision = Math.max(this.revision, batch.bundle.revision)
    })
  }

  /** The network is gone: nothing comes, and nothing goes out. */
  goesAway () {
    this.isAway = true
    this.stream.cancel()
  }

  /** The network is back: everything is sent that the node may not have, and read what this editor lacks. */
  async comesBack () {
    this.isAway = false
    this.send(Y.encodeStateAsUpdate(this.doc))
    await this.sending
    await this.load()
    this.follow()
  }

  send (update) {
    if (this.isAway) return
    const { workspace, ...field } = this.field
    const command = { apply_update: { ...field, client_id: this.doc.clientID, update: Buffer.from(update) } }
    this.sending = this.sending.then(() =>
      this.node.commands('Execute', { command_id: randomUUID(), workspace, commands: [command] }))
  }

  /** Ends once everything is sent, and everything up to that revision has come. */
  async hasSeen (revision) {
    await this.sending
    while (this.revision < revision) await new Promise(resolve => this.stream.once('data', resolve))
    await this.sending
  }

  close () { this.stream.cancel() }
}
