// The operators' page: asks once a second what every upload is doing.
import { duration, percent, phrases, size } from './format.js'

const $ = selector => document.querySelector(selector)
const language = document.documentElement.lang
const t = phrases(JSON.parse($('#operators').dataset.texts), language)
const POINTS = 60
const seen = new Map() // id: { row, offset, time }
const pace = []
let before = 0
let start = 0
let newest = 0
let waiting = 0

function rowOf (upload) {
  const row = $('#row').content.firstElementChild.cloneNode(true)
  row.querySelector('.name').textContent = upload.name
  row.querySelector('.owner').textContent = upload.owner || '–'
  row.querySelector('progress').setAttribute('aria-label', upload.name)
  for (const action of ['stop', 'remove']) {
    const button = row.querySelector(`.${action}`)
    button.setAttribute('aria-label', `${t(action)} ${upload.name}`)
    button.onclick = () => act(action, upload.id)
  }
  return row
}

function show (row, upload, speed) {
  const part = percent(upload.offset, upload.length)
  const bytes = n => size(n, language)
  const ago = seconds => t('ago', { time: duration(seconds) })
  row.querySelector('progress').value = upload.length === null ? 0 : part
  row.querySelector('.part').textContent = upload.refused ? t('refused', upload.refused) : upload.complete
    ? `${bytes(upload.offset)}, ${t('complete')}`
    : `${bytes(upload.offset)} / ${upload.length === null ? '?' : bytes(upload.length)}`
  row.querySelector('.speed').textContent = speed ? `${bytes(speed)}/s` : '–'
  row.querySelector('.age').textContent = ago(upload.age)
  row.querySelector('.idle').textContent = ago(upload.idle)
  row.querySelector('.stop').disabled = upload.complete
}

function plot (rate) {
  pace.push(rate)
  if (pace.length > POINTS) pace.shift()
  const top = Math.max(1, ...pace) * 1.1
  const points = pace.map((value, i) => [600 - (pace.length - 1 - i) * 600 / (POINTS - 1), 120 - value / top * 116])
  const line = points.map(point => point.map(n => n.toFixed(1)).join(',')).join(' ')
  $('#line').setAttribute('points', line)
  $('#area').setAttribute('points', `${points[0][0].toFixed(1)},120 ${line} 600,120`)
  $('#now').textContent = `${size(rate, language)}/s`
}

function draw ({ total, running, start: first, most, uploads }) {
  const now = performance.now() / 1000
  let rate = 0
  let above = null
  for (const upload of uploads) {
    const old = seen.get(upload.id)
    const row = old ? old.row : rowOf(upload)
    const speed = old ? Math.max(0, (upload.offset - old.offset) / (now - old.time)) : 0
    rate += speed
    show(row, upload, speed)
    seen.set(upload.id, { row, offset: upload.offset, time: now })
    if (!old && above) above.after(row)
    else if (!old) $('#uploads').prepend(row)
    above = row
  }
  const alive = new Set(uploads.map(upload => upload.id))
  for (const [id, { row }] of seen) if (!alive.has(id)) { row.remove(); seen.delete(id) }
  $('#summary').textContent = t('uploads_now', { n: total, running })
  $('#none').hidden = total > 0
  start = first
  $('#more').hidden = total <= most
  $('#range').textContent = t('range', { first: first + 1, last: first + uploads.length })
  $('#earlier').disabled = !first
  $('#later').disabled = first + uploads.length >= total
  $('#earlier').onclick = () => { start -= most; ask() }
  $('#later').onclick = () => { start += most; ask() }
  if (before) plot(rate)
  before = now
}

async function act (action, id = '') {
  const answer = await fetch(action, { method: 'POST', body: new URLSearchParams({ id }) })
  const told = await answer.json()
  $('#live').textContent = told.error || (action === 'sweep' ? t('swept', { n: told.removed }) : t('complete'))
  await ask()
}

async function ask () {
  const mine = ++newest
  waiting++
  try {
    const told = await (await fetch('uploads?' + new URLSearchParams({ from: start, find: $('#find').value }))).json()
    if (mine === newest) draw(told) // and not what was asked for before the page was turned
    $('#lost').hidden = true
  } catch {
    $('#lost').hidden = false
  }
  waiting--
}

history.replaceState(null, '', location.pathname) // the token is in the cookie now, and need not be seen
$('#sweep').onclick = () => act('sweep')
$('#find').oninput = () => { start = 0; ask() }
ask()
setInterval(() => document.hidden || waiting || ask(), 1000)
