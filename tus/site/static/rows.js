// What is seen of the uploads: what runs is on top, what is finished is folded up, and there are no more rows than needed.
import { checkLinks, clear, links } from './earlier.js'
import { duration, percent, speed } from './format.js'
import { active, finished, items, next, running, some } from './item.js'
import { $, bytes, changed, copy, draw, drawsWith, name, now, say, speak, t } from './page.js'

const PAGE = 12 // rows of a list, until somebody asks for more
const FEW = 5 // finished files are shown as they are; more of them are folded up
const input = $('#file'); const list = $('#list'); const folded = $('#finished'); const title = document.title
const rows = new Map(); const limits = { list: PAGE, links: PAGE }; const samples = []
let count = 0; let chosen = false // whether somebody folded, or unfolded

const labels = { paused: 'resume', failed: 'try_again', done: 'copy_link' }
const label = item => item.note || (item.refused ? 'start_again' : labels[item.state] || 'pause')

class Row {
  constructor (item) {
    this.node = Object.assign(copy('#row'), { item })
    for (const part of ['name', 'status', 'go', 'cancel', 'bar', 'shot']) this[part] = this.node.querySelector(`.${part}`)
    this.name.textContent = item.path
    this.name.id = `name-${++count}`
    this.bar.setAttribute('aria-labelledby', this.name.id)
    this.go.onclick = () => { if (item.link) copyLink(item); else { item.press(); next() } draw() }
    this.cancel.onclick = () => { item.cancel(); next(); draw(); say(`${item.path}: ${t('cancelled')}`) }
  }

  paint (item) {
    const text = item.text(); const key = label(item); const { state } = item
    if (this.text !== text) this.status.textContent = this.text = text
    this.bar.value = percent(item.sent, item.size)
    if (this.key === key && this.state === state) return
    if (item.link && this.state !== state) this.finish(item)
    this.key = key
    this.state = this.node.className = state
    this.go.hidden = !!item.unfit
    this.cancel.hidden = state === 'done'
    name(this.go, key, item.path)
    name(this.cancel, state === 'failed' ? 'remove' : 'cancel', item.path)
  }

  finish ({ file, link, path }) {
    const anchor = document.createElement('a')
    anchor.href = link
    anchor.textContent = path
    this.name.replaceChildren(anchor)
    if (!file?.type.startsWith('image/')) return
    this.shot.onload = () => { this.shot.hidden = false; URL.revokeObjectURL(this.shot.src) }
    this.shot.src = URL.createObjectURL(file)
  }
}

/** Says so where it was asked for. Without a clipboard, on plain http, the old way is left. */
async function copyLink (item) {
  const focused = document.activeElement; const field = document.createElement('textarea')
  let done = true
  try { await navigator.clipboard.writeText(item.link) } catch {
    field.value = item.link
    document.body.append(field)
    field.select()
    done = document.execCommand('copy')
    field.remove()
    focused.focus()
  }
  item.note = done ? 'copied' : 'not_copied'
  say(t(item.note)); draw()
  setTimeout(() => { item.note = ''; changed() }, 2000)
}

function show (list, all) {
  const { id } = list; const some = all.slice(0, limits[id]); const more = $(`#${id}-more`)
  const nodes = some.map(item => {
    if (!rows.has(item)) rows.set(item, new Row(item))
    rows.get(item).paint(item)
    return rows.get(item).node
  })
  const wanted = new Set(nodes)
  for (const node of [...list.children]) if (!wanted.has(node)) node.remove()
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] || null) })
  more.hidden = nodes.length === all.length
  more.textContent = t('more', { n: all.length - nodes.length })
  return some
}

/** Moving a row takes the focus from it; and who had it in a row that is gone has it nearby. */
function keepFocus (change) {
  const focused = document.activeElement; const row = focused.closest('.rows li')
  const home = row?.parentNode; const place = row && [...home.children].indexOf(row)
  change()
  if (!row || document.activeElement === focused) return
  const button = node => node?.querySelector('button:not([hidden])')
  const near = home.children[Math.min(place, home.children.length - 1)]
  const places = row.isConnected ? [focused, button(row)] : [row.item?.state === 'done' && $('#finished summary'), button(near)]
  for (const one of [...places, input]) {
    if (one) one.focus({ preventScroll: true })
    if (one === document.activeElement) break
  }
}

function lists () {
  const groups = { sending: [], paused: [], failed: [], waiting: [], done: [] }
  for (const item of items) groups[item.state].push(item)
  const ended = [...finished, ...links]
  if (!chosen) folded.open = ended.length <= FEW
  folded.hidden = !ended.length
  $('#finished summary').textContent = t('finished', { n: ended.length })
  const shown = new Set([
    ...show(list, [...groups.sending, ...groups.paused, ...groups.failed, ...groups.waiting]),
    ...show($('#links'), folded.open ? ended : [])
  ])
  for (const item of rows.keys()) if (!shown.has(item)) rows.delete(item)
  return groups
}

function totals ({ done, failed }) {
  const going = some(active); let sent = 0; let all = 0
  for (const item of items) if (item.state !== 'failed') { sent += item.sent; all += item.size }
  if (!running.size) samples.length = 0
  samples.push([now(), sent])
  while (samples.length > 2 && now() - samples[0][0] > 10) samples.shift()
  const pace = speed(samples); const part = Math.min(going ? 99 : 100, percent(sent, all))
  const text = t('total', { done: done.length, n: items.size, percent: part }) +
    (failed.length ? t('of_which_failed', { n: failed.length }) : '') +
    (going && pace ? t('pace', { speed: bytes(pace), left: duration((all - sent) / pace) }) : '')
  $('#files').hidden = !items.size
  $('#total').textContent = text
  $('#overall').value = part
  document.title = going ? `${part} % – ${title}` : title
  const button = $('#pause-all')
  button.textContent = t(going ? 'pause_all' : 'resume_all')
  button.hidden = !some(item => !item.unfit && !item.link)
  speak(text, going)
}

drawsWith(() => keepFocus(() => totals(lists())))
folded.ontoggle = draw
$('#finished summary').onclick = () => { chosen = true }
$('#clear').onclick = () => {
  for (const item of finished.splice(0)) items.delete(item)
  clear(); draw(); input.focus()
}
for (const id of Object.keys(limits)) {
  $(`#${id}-more`).onclick = () => {
    const first = limits[id]
    limits[id] += 5 * PAGE
    draw()
    $(`#${id}`).children[first]?.querySelector('button:not([hidden])').focus()
  }
}
checkLinks()
