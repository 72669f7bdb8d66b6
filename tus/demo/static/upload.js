// The upload page. tus.min.js speaks the protocol; this shows what happens, and does what people ask for.
import { allowed, duration, percent, phrases, size, speed } from './format.js'

const $ = selector => document.querySelector(selector)
const form = $('#upload'); const input = $('#file'); const { dataset } = form; const title = document.title
const { lang, classList } = document.documentElement; const t = phrases(JSON.parse(dataset.texts))
const endpoint = new URL(dataset.endpoint, location).href
const most = +dataset.maxSize || Infinity; const patience = +dataset.patience || 30 // seconds
const items = new Set(); const some = test => [...items].some(test)
const active = item => item.state === 'sending' || item.state === 'waiting'
const stopped = item => item.state === 'paused' || item.state === 'failed'
const bytes = n => size(n, lang); const now = () => performance.now() / 1000
let spoken = 0; let count = 0
const say = text => { $('#live').textContent = text; spoken = now() } // the one polite voice
const copy = id => $(id).content.firstElementChild.cloneNode(true)
const name = (button, key, what) => { button.textContent = t(key); button.ariaLabel = `${t(key)} ${what}` }

// An upload belongs to one window, which holds its lock. Gives what lets go of it; null if another one has it.
const hold = url => new Promise(resolve => navigator.locks
  ? navigator.locks.request(url, { ifAvailable: true }, lock => lock ? new Promise(resolve) : resolve(null))
  : resolve(() => {}))

class Item {
  constructor (file) {
    const path = file.path || file.webkitRelativePath || file.name
    Object.assign(this, { file, path, sent: 0, samples: [], row: copy('#row') })
    for (const part of ['name', 'status', 'go', 'cancel', 'bar', 'shot']) this[`$${part}`] = this.row.querySelector(`.${part}`)
    this.$name.textContent = path
    this.$name.id = `name-${++count}`
    this.$bar.setAttribute('aria-labelledby', this.$name.id)
    this.$go.onclick = () => this.press()
    this.$cancel.onclick = () => this.cancel()
    name(this.$cancel, 'cancel', path)
    const why = file.size > most ? t('too_big', { size: bytes(file.size), most: bytes(most) })
      : allowed(dataset.accept, file) ? '' : t('wrong_type')
    if (why) return this.set('failed', why)
    const metadata = { filename: file.name, filetype: file.type }
    if (path !== file.name) metadata.relativePath = path
    if (dataset.album) metadata.album = dataset.album
    this.upload = new tus.Upload(file, {
      endpoint,
      metadata,
      chunkSize: +dataset.chunk || Infinity,
      retryDelays: [0, 1e3, 3e3, 5e3, 1e4, ...Array(1e3).fill(15e3)],
      removeFingerprintOnSuccess: true,
      onUploadUrlAvailable: () => this.found(),
      onProgress: sent => this.progress(sent),
      onSuccess: ({ lastResponse }) => this.done(lastResponse),
      onShouldRetry: error => this.retries(error.originalResponse?.getStatus()),
      onError: error => this.failed(error.originalResponse)
    })
    this.wait()
  }

  set (state, text) {
    this.state = this.row.className = state
    this.$status.textContent = text
    this.$go.hidden = !this.upload
    const done = this.$cancel.hidden = state === 'done'
    name(this.$go, done ? 'copy_link' : state === 'failed' ? 'try_again' : stopped(this) ? 'resume' : 'pause', this.path)
    if (done || stopped(this)) say(`${this.path}: ${text}`)
    draw()
  }

  wait () { this.set('waiting', t('waiting', { size: bytes(this.file.size) })) }

  async start () {
    this.set('sending', t('starting'))
    if (this.starting) return // a second request would make a second upload
    this.starting = true; this.samples = []; this.seen = now()
    if (!this.upload.url) {
      for (const old of await this.upload.findPreviousUploads()) {
        if (await this.own(old.uploadUrl)) { this.upload.resumeFromPreviousUpload(old); break }
      }
    }
    if (this.state === 'sending') this.upload.start()
    else this.starting = false
  }

  async own (url) {
    if (this.owned === url) return true
    const release = await hold(url)
    if (release) { this.release?.(); this.release = release; this.owned = url }
    return release
  }

  found () { // the upload's address; what was asked for meanwhile comes true now
    this.starting = false; this.seen = now()
    this.own(this.upload.url)
    $(`[data-url="${CSS.escape(this.upload.url)}"]`)?.remove(); listed()
    if (this.state !== 'sending') this.stop(this.state === 'gone')
  }

  stop (forGood) { this.upload?.abort(forGood).catch(() => {}) }

  progress (sent) {
    if (this.state !== 'sending') return this.stop()
    const all = this.file.size; const { samples } = this
    this.sent = sent; this.seen = now()
    samples.push([this.seen, sent])
    while (samples.length > 2 && this.seen - samples[0][0] > 5) samples.shift()
    const pace = speed(samples)
    // Once all is sent, the browser has given its last byte away, and the server has not answered yet.
    this.$status.textContent = sent === all ? t('finishing')
      : t('progress', { percent: percent(sent, all), sent: bytes(sent), all: bytes(all) }) +
        (pace ? t('pace', { speed: bytes(pace), left: duration((all - sent) / pace) }) : '')
    draw()
    if (now() - spoken > 15) say($('#total').textContent)
  }

  done (response) {
    const link = document.createElement('a')
    link.href = this.link = new URL(response.getHeader('Content-Location') || '', this.upload.url).href
    link.textContent = this.path
    this.$name.replaceChildren(link)
    this.$shot.onload = () => { this.$shot.hidden = false }
    if (this.file.type.startsWith('image/')) this.$shot.src = URL.createObjectURL(this.file)
    this.sent = this.file.size
    this.release?.()
    this.set('done', t('done', { size: bytes(this.sent) }))
    document.dispatchEvent(new Event('uploaded'))
    next()
  }

  retries (status) {
    const again = navigator.onLine && (!status || status > 499 || [409, 423, 429].includes(status))
    if (again) this.$status.textContent = t('reconnecting')
    return again
  }

  failed (answer) {
    this.starting = false
    if (this.state !== 'sending') return
    if (!navigator.onLine) return this.offline()
    const status = answer?.getStatus()
    this.set('failed', status ? t('refused', { status, text: answer.getBody().trim().slice(0, 200) }) : t('failed'))
    next()
  }

  offline () {
    if (!this.starting) this.stop()
    this.set('offline', t('waiting_online'))
  }

  press () {
    if (this.link) navigator.clipboard?.writeText(this.link).then(() => say(t('copied')))
    else if (stopped(this)) { this.wait(); next() } else this.pause()
  }

  pause () {
    if (this.state === 'sending' && !this.starting) this.stop()
    this.set('paused', t('paused_at', { sent: bytes(this.sent), all: bytes(this.file.size) }))
    next()
  }

  cancel () {
    const near = this.row.nextElementSibling || this.row.previousElementSibling
    this.state = 'gone'
    items.delete(this); this.row.remove()
    if (!this.starting) this.stop(true)
    this.release?.()
    say(`${this.path}: ${t('cancelled')}`)
    ;(near?.querySelector('button:not([hidden])') || input).focus()
    draw(); next()
  }

  watch () { // a connection may freeze without a word
    if (this.state !== 'sending' || now() - this.seen < patience * (this.sent === this.file.size ? 10 : 1)) return
    this.stop()
    this.starting = false
    this.start()
    this.$status.textContent = t('reconnecting')
  }
}

function draw () {
  let sent = 0; let all = 0; let done = 0; let pace = 0
  for (const item of items) {
    item.$bar.value = percent(item.sent, item.file.size)
    sent += item.sent; all += item.file.size; done += item.state === 'done'
    if (item.state === 'sending') pace += speed(item.samples)
  }
  const going = some(active); const total = percent(sent, all); const n = items.size; const button = $('#pause-all')
  $('#files').hidden = !n
  $('#total').textContent = t('total', { done, n, percent: total }) + (pace ? `, ${bytes(pace)}/s` : '')
  button.textContent = t(going ? 'pause_all' : 'resume_all')
  button.hidden = !some(item => item.upload && !item.link)
  document.title = going ? `${total} % – ${title}` : title
}

function next () {
  const free = 3 - [...items].filter(item => item.state === 'sending').length
  for (const item of [...items].filter(item => item.state === 'waiting').slice(0, Math.max(0, free))) item.start()
}

function take (files) {
  for (const file of files) {
    const item = new Item(file)
    items.add(item); $('#list').append(item.row)
  }
  if (files.length) say(t('added', { n: files.length }))
  draw(); next()
}

// What an earlier visit left unfinished: tus-js-client keeps it in the browser's storage.
const listed = () => { $('#unfinished').hidden = !$('#left').children.length }

async function recall (key) {
  const { uploadUrl: url, metadata, size: all } = JSON.parse(localStorage[key])
  const release = url?.startsWith(endpoint) && await hold(url)
  if (!release) return // another window is at it
  const answer = navigator.locks && await fetch(url, { method: 'HEAD' }).catch(() => {})
  release()
  if ([404, 410].includes(answer?.status)) return localStorage.removeItem(key)
  const row = copy('#old'); const forget = row.querySelector('button'); const path = metadata.relativePath || metadata.filename
  row.dataset.url = url
  row.querySelector('.name').textContent = path
  row.querySelector('.status').textContent = answer?.ok
    ? t('stored', { percent: percent(answer.headers.get('Upload-Offset'), all), all: bytes(all) }) : bytes(all)
  name(forget, 'forget', path)
  forget.onclick = () => {
    localStorage.removeItem(key)
    tus.Upload.terminate(url).catch(() => {})
    row.remove(); listed(); say(`${path}: ${t('forgotten')}`); input.focus()
  }
  $('#left').append(row); listed()
}

async function walk (entry, above = '') { // a dropped folder, with all that is in it
  const ask = (object, method) => new Promise((resolve, reject) => object[method](resolve, reject))
  if (entry.isFile) return [Object.assign(await ask(entry, 'file'), { path: above + entry.name })]
  const reader = entry.createReader(); const found = []
  for (let some; (some = await ask(reader, 'readEntries')).length;) { // a hundred at a time
    for (const inner of some) found.push(...await walk(inner, `${above}${entry.name}/`))
  }
  return found
}

async function drop ({ items, files }) {
  const entries = [...items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)
  take(entries.length ? (await Promise.all(entries.map(entry => walk(entry)))).flat() : [...files])
}

function online () {
  $('#offline').hidden = navigator.onLine
  for (const item of items) {
    if (navigator.onLine) { if (item.state === 'offline') item.wait() } else if (item.state === 'sending') item.offline()
  }
  next()
}

function chooses (id, attribute, possible) {
  $(id).hidden = !possible
  $(id).onclick = () => { input.setAttribute(attribute, ''); input.click() }
}

input.oncancel = () => { for (const name of ['webkitdirectory', 'capture']) input.removeAttribute(name) }
input.onchange = () => { take([...input.files]); input.value = ''; input.oncancel() }
chooses('#folder', 'webkitdirectory', 'webkitdirectory' in input)
chooses('#camera', 'capture', matchMedia('(pointer: coarse)').matches)
$('#pause-all').onclick = () => {
  if (some(active)) for (const item of [...items].filter(active)) item.pause()
  else for (const item of items) if (stopped(item) && item.upload) item.press()
}
addEventListener('paste', event => take([...event.clipboardData.files]))
ondragover = event => { event.preventDefault(); form.classList.add('over') }
ondragleave = event => { if (!event.relatedTarget) form.classList.remove('over') }
ondrop = event => { ondragover(event); form.classList.remove('over'); drop(event.dataTransfer) }
ononline = onoffline = online
onbeforeunload = event => { if (some(active)) event.preventDefault() }
setInterval(() => items.forEach(item => item.watch()), 1000)
classList.add('js')
online()
for (const key of Object.keys(localStorage)) if (key.startsWith('tus::')) recall(key)
