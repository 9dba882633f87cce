// Two editors made with Yjs, and a command line between them: all end with the same text and the same list.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { connect, Editor } from './editor.js'

const [protos, address, token, openprod, folder] = process.argv.slice(2)
const node = connect(protos, address, token)
const typed = (...words) => execFileSync(openprod, ['--data-dir', folder, ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const typedMeanwhile = (...words) => new Promise((resolve, reject) =>
  spawn(openprod, ['--data-dir', folder, ...words], { stdio: 'ignore' })
    .on('exit', code => code === 0 ? resolve() : reject(new Error(`openprod ${words.join(' ')}: ${code}`))))
const told = column => JSON.parse(typed(column === 'notes' ? 'text' : 'sequence', 'show', 'cues', 'LX 12', column, '--json'))

/** Waits until everybody has seen what the node has, and holds them to it. */
async function agree (editors) {
  for (const editor of editors) await editor.sending
  const { text, revision } = told('notes')
  for (const editor of editors) await editor.hasSeen(revision)
  for (const editor of editors) assert.equal(editor.text.toString(), text)
  return text
}

const { workspace } = await node.workspaces('CreateWorkspace', { command_id: randomUUID(), name: 'Hamlet' })
const execute = (...commands) => node.commands('Execute', { command_id: randomUUID(), workspace, commands })
const column = (name, type) => ({ name, type: { type, item: type === 'DATA_TYPE_SEQUENCE' ? 'DATA_TYPE_TEXT' : undefined } })
const record = randomUUID()
await execute(
  { create_table: { name: 'cues', columns: [column('label', 'DATA_TYPE_TEXT'), column('notes', 'DATA_TYPE_DOCUMENT'), column('crew', 'DATA_TYPE_SEQUENCE')] } },
  { create_record: { record, table: 'cues', values: [{ column: 'label', value: { text: 'LX 12' } }, { column: 'notes', value: { text: 'Go on the word 👻' } }] } }
)
const field = name => ({ workspace, record, table: 'cues', column: name })

const mara = await Editor.open(node, field('notes'))
const leo = await Editor.open(node, field('notes'))
assert.equal(mara.text.toString(), 'Go on the word 👻')

// Keystrokes of two editors and of a command line, all at once.
const line = typedMeanwhile('text', 'insert', 'cues', 'LX 12', 'notes', '0', '[LX 12] ')
for (let n = 0; n < 40; n++) {
  mara.text.insert(mara.text.length, String(n % 10))
  leo.text.insert(0, 'abcdefghij'[n % 10])
  if (n % 8 === 7) leo.text.delete(1, 2)
  if (n % 5 === 0) await new Promise(setImmediate)
}
await line
let text = await agree([mara, leo])
assert.ok(text.includes('[LX 12] ') && text.includes('👻') && text.includes('0123456789'), text)

// One is away for a while, writes on, and comes back.
leo.goesAway()
leo.text.insert(leo.text.length, ' (Leo, on the train)')
leo.text.delete(0, 3)
mara.text.insert(0, 'STANDBY ')
typed('text', 'insert', 'cues', 'LX 12', 'notes', 'end', ' (typed)')
await leo.comesBack()
text = await agree([mara, leo])
assert.ok(text.includes('(Leo, on the train)') && text.includes('STANDBY') && text.includes('(typed)'), text)

// What was deleted is undone at the node, and comes back in the editors.
mara.text.delete(0, mara.text.length)
await agree([mara, leo])
assert.equal(leo.text.toString(), '')
typed('undo')
assert.equal(await agree([mara, leo]), text)
typed('redo')
typed('text', 'set', 'cues', 'LX 12', 'notes', 'Blackout')
assert.equal(await agree([mara, leo]), 'Blackout')

// What is no update is refused, and nobody notices.
await assert.rejects(execute({ apply_update: { ...field('notes'), workspace: undefined, client_id: 7, update: Buffer.from([255, 255]) } }), /was not taken/)
const foreign = { ...field('notes'), workspace: undefined, client_id: 7, update: Buffer.from([1, 1, 9, 0, 4, 1, 4, ...Buffer.from('text'), 1, 120, 0]) }
await assert.rejects(execute({ apply_update: foreign }), /of client 9, not of 7/)
assert.equal(await agree([mara, leo]), 'Blackout')

// A list.
const crew = await Editor.open(node, field('crew'))
const others = await Editor.open(node, field('crew'))
crew.list.push(['Jo', 'Ann'])
others.list.insert(0, ['Kim'])
const row = typedMeanwhile('sequence', 'insert', 'cues', 'LX 12', 'crew', '0', 'Bo')
await row
await Promise.all([crew.sending, others.sending])
const { items, revision } = told('crew')
for (const editor of [crew, others]) {
  await editor.hasSeen(revision)
  assert.deepEqual(editor.list.toArray(), items)
}
assert.deepEqual([...items].sort(), ['Ann', 'Bo', 'Jo', 'Kim'])

for (const editor of [mara, leo, crew, others]) editor.close()
typed('verify')
console.log('yjs: editors, a command line and the node agree')
process.exit(0)
