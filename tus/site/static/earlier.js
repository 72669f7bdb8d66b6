// What earlier visits left in the browser's storage: uploads that are not finished, and links to those that are.
import { percent } from './format.js'
import { $, bytes, changed, copy, dataset, endpoint, name, say, t, why } from './page.js'

const MOST = 50 // of each
const KEY = `tus-done::${endpoint}`
const input = $('#file')
const remembers = 'remember' in dataset

// Links. What this visit has finished is put before them when the page is left, or a second later.
let fresh = []; let timer
const read = () => { try { return JSON.parse(localStorage[KEY] || '[]') } catch { return [] } }
const write = all => { try { localStorage[KEY] = JSON.stringify(all) } catch { /* no room */ } }
const flush = () => { timer = 0; if (fresh.length) { write([...fresh, ...read()].slice(0, MOST)); fresh = [] } }
const linked = ({ path, link, size }) => ({ path, link, size, sent: size, state: 'done', text: () => t('done', { size: bytes(size) }) })
export let links = remembers ? read().map(linked) : []

export function remember ({ path, link, size }) {
  if (!remembers) return
  fresh.unshift({ path, link, size })
  fresh.length = Math.min(fresh.length, MOST)
  timer ||= setTimeout(flush, 1000)
}

export function clear () {
  fresh = []; links = []
  write([])
}

/** Drops the links to what is not there any more. */
export async function checkLinks () {
  for (const { link } of links) {
    const answer = await fetch(link, { method: 'HEAD' }).catch(() => {})
    if (![404, 410].includes(answer?.status)) continue
    links = links.filter(one => one.link !== link)
    write(read().filter(one => one.link !== link))
    changed()
  }
}

// An upload belongs to one window, which holds its lock. Gives what lets go of it; null if another one has it.
export const hold = url => new Promise(resolve => navigator.locks
  ? navigator.locks.request(url, { ifAvailable: true }, lock => lock ? new Promise(resolve) : resolve(null))
  : resolve(() => {}))

// Uploads that are not finished: tus-js-client keeps them.
const listed = () => { $('#unfinished').hidden = !$('#left').children.length }
export const gone = url => { $(`[data-url="${CSS.escape(url)}"]`)?.remove(); listed() }

function row (key, url, path, status) {
  const row = copy('#old'); const forget = row.querySelector('button')
  row.dataset.url = url
  row.querySelector('.name').textContent = path
  row.querySelector('.status').textContent = status
  name(forget, 'forget', path)
  forget.onclick = () => {
    localStorage.removeItem(key)
    tus.Upload.terminate(url).catch(() => {})
    gone(url); say(`${path}: ${t('forgotten')}`); input.focus()
  }
  return row
}

async function stateOf (answer, url, size) {
  const all = bytes(size)
  if (answer?.ok) return t('stored', { percent: percent(answer.headers.get('Upload-Offset'), size), all })
  const refused = answer?.headers.get('Upload-Complete') === '?1'
  return refused ? t('refused', { status: answer.status, text: await why(url, size) }) : all
}

async function recall (key) {
  const { uploadUrl: url, metadata, size: all } = JSON.parse(localStorage[key])
  const release = url?.startsWith(endpoint) && await hold(url)
  if (!release) return // another window is at it
  const answer = navigator.locks && await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } }).catch(() => {})
  release()
  if ([404, 410].includes(answer?.status)) return localStorage.removeItem(key)
  const status = await stateOf(answer, url, all)
  $('#left').append(row(key, url, metadata.relativePath || metadata.filename, status)); listed()
}

export async function recallSome (keys = Object.keys(localStorage).filter(key => key.startsWith('tus::'))) {
  const more = $('#left-more')
  for (const key of keys.splice(0, MOST)) await recall(key)
  more.hidden = !keys.length
  more.textContent = t('more', { n: keys.length })
  more.onclick = () => recallSome(keys)
}

addEventListener('pagehide', flush)
