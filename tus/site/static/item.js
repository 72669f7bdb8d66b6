// One file on its way: tus.min.js speaks the protocol; this decides when, and knows what to tell.
import { gone, hold, remember } from './earlier.js'
import { allowed, duration, percent, speed } from './format.js'
import { keyOf } from './key.js'
import { bytes, changed, dataset, endpoint, now, reason, t, tell, why } from './page.js'
import { pieces } from './safari.js'

const AT_ONCE = 3
const SMALL = 1 << 18 // bytes: goes with the request that creates the upload; what is cut there begins again
const LATER = [408, 409, 423, 425, 429] // other refusals are final
const most = +dataset.maxSize || Infinity; const patience = +dataset.patience || 30 // seconds
let chunk = +dataset.chunk || Infinity // bytes of a request
export const items = new Set(); export const running = new Set(); export const finished = []
let queue = []

export const stopped = item => item.state === 'paused' || item.state === 'failed'
export const active = item => item.state === 'sending' || item.state === 'waiting'
export const some = test => [...items].some(test)

export function next () {
  while (running.size < AT_ONCE && queue.length && navigator.onLine) {
    const item = queue.shift()
    if (item.state === 'waiting') item.start()
  }
}

/** These go on, before those that never began. */
export function resume (some) {
  for (const item of some) item.ready()
  queue = [...some, ...queue]
}

// tus-js-client begins from zero whatever a HEAD is told. That is right only where the upload is gone.
async function check (request, answer, size) {
  const told = read(answer)
  if (request.getMethod() !== 'HEAD' || told.status < 400 || [404, 410].includes(told.status)) return
  if (told.final) told.text = await why(request.getURL(), size)
  throw Object.assign(Error(), { told })
}
const read = answer => ({
  status: answer.getStatus(), text: reason(answer.getBody()), final: answer.getHeader('Upload-Complete') === '?1'
})
const told = ({ originalResponse: answer, causingError }) => answer ? read(answer) : causingError?.told || {}

export class Item {
  constructor (file) {
    const path = file.path || file.webkitRelativePath || file.name
    Object.assign(this, { file, path, size: file.size, small: file.size <= SMALL, sent: 0, samples: [], status: '' })
    this.unfit = file.size > most ? t('too_big', { size: bytes(file.size), most: bytes(most) })
      : allowed(dataset.accept, file) ? '' : t('wrong_type')
    items.add(this)
    if (this.unfit) return this.set('failed', this.unfit)
    this.set('waiting')
    queue.push(this)
  }

  set (state, status = '') {
    this.state = state; this.status = status
    if (state === 'sending') running.add(this)
    else running.delete(this)
    if (stopped(this) || state === 'done') tell(`${this.path}: ${status}`)
    changed()
  }

  text () {
    if (this.status) return this.status
    const all = bytes(this.size); const { sent } = this
    if (this.state === 'waiting') return navigator.onLine ? t('waiting', { size: all }) : t('waiting_online')
    // Once all is sent, the browser has given its last byte away, and the server has not answered yet.
    if (sent === this.size) return t('finishing')
    const pace = speed(this.samples)
    return t('progress', { percent: percent(sent, this.size), sent: bytes(sent), all }) +
      (pace ? t('pace', { speed: bytes(pace), left: duration((this.size - sent) / pace) }) : '')
  }

  made () {
    const { file, path, small } = this
    const metadata = { filename: file.name, filetype: file.type }
    if (path !== file.name) metadata.relativePath = path
    if (dataset.album) metadata.album = dataset.album
    return new tus.Upload(file, {
      endpoint,
      metadata,
      ...pieces(chunk),
      uploadDataDuringCreation: small,
      storeFingerprintForResuming: !small,
      retryDelays: [0, 1e3, 3e3, 5e3, 1e4, ...Array(1e3).fill(15e3)],
      removeFingerprintOnSuccess: true,
      onBeforeRequest: request => { if (request.getMethod() === 'POST') request.setHeader('Idempotency-Key', `"${this.creation.key}"`) },
      onAfterResponse: (request, answer) => check(request, answer, file.size),
      onUploadUrlAvailable: () => this.found(),
      onProgress: sent => this.progress(sent),
      onSuccess: ({ lastResponse }) => this.done(lastResponse),
      onShouldRetry: error => this.retries(told(error)),
      onError: error => this.failed(told(error))
    })
  }

  async start () {
    this.set('sending', t('starting'))
    if (this.starting) return // a second request would make a second upload
    this.starting = true; this.samples = []; this.seen = now()
    this.upload ||= this.made()
    if (!this.upload.url && !this.small && !this.anew) {
      for (const old of await this.upload.findPreviousUploads()) {
        if (await this.own(old.uploadUrl)) { this.upload.resumeFromPreviousUpload(old); break }
      }
    }
    this.creation ||= await keyOf(this)
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
    this.creation.forget()
    if (!this.small) { this.own(this.upload.url); gone(this.upload.url) }
    if (this.state !== 'sending') this.stop(this.state === 'gone')
  }

  stop (forGood) {
    if (forGood) gone(this.upload?.url)
    this.upload?.abort(forGood).catch(() => {})
  }

  progress (sent) {
    if (this.state !== 'sending') return this.stop()
    const { samples } = this
    this.sent = sent; this.seen = now(); this.status = ''
    samples.push([this.seen, sent])
    while (samples.length > 2 && this.seen - samples[0][0] > 5) samples.shift()
    changed()
  }

  done (answer) {
    if (this.state === 'gone') return
    this.link = new URL(answer.getHeader('Content-Location') || '', this.upload.url).href
    this.sent = this.size; this.upload = null
    this.release?.()
    finished.unshift(this); remember(this)
    this.set('done', t('done', { size: bytes(this.size) }))
    document.dispatchEvent(new Event('uploaded'))
    next()
  }

  smaller () { // something before the server takes no request as large as that, of this file or the next
    const { url, options } = this.upload
    const less = Math.floor(Math.min(options.chunkSize, this.size) / 8)
    if (!url || less < 1 << 16) return false
    chunk = Math.min(chunk, less)
    options.chunkSize = less
    return true
  }

  retries ({ status, text }) {
    if (status === 413 && this.smaller()) return true
    const again = navigator.onLine && (!status || status > 499 || LATER.includes(status))
    const busy = status === 423 && this.sent === this.size // the host looks at the whole file
    if (again) this.status = status > 423 && text ? t('busy', { status, text }) : busy ? '' : t('reconnecting')
    changed()
    return again
  }

  failed ({ status, text, final }) {
    this.starting = false
    if (this.state !== 'sending') return
    if (!navigator.onLine) return this.wait()
    this.refused = final || status && !this.upload.url
    this.set('failed', status ? t('refused', { status, text }) : t('failed'))
    next()
  }

  wait () { // for the connection
    if (!this.starting) this.stop()
    resume([this])
  }

  ready () {
    if (this.refused) { // that upload will never be taken: this is another one
      this.stop(true)
      this.release?.()
      this.creation?.forget()
      Object.assign(this, { upload: null, creation: null, owned: '', refused: false, anew: true, sent: 0 })
    }
    this.set('waiting')
  }

  press () { if (stopped(this)) resume([this]); else this.pause() }

  pause () {
    if (this.state === 'sending' && !this.starting) this.stop()
    this.set('paused', t('paused_at', { sent: bytes(this.sent), all: bytes(this.size) }))
  }

  cancel () {
    this.set('gone')
    items.delete(this)
    if (!this.starting) this.stop(true)
    this.creation?.forget()
    this.release?.()
  }

  watch () { // a connection may freeze without a word
    if (now() - this.seen < patience * (this.sent === this.size ? 10 : 1)) return
    this.stop()
    this.starting = false
    this.start()
    this.status = t('reconnecting')
  }
}
