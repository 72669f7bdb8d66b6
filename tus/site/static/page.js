// What every part of the upload page shares: the form and its texts, when to draw, and the voice for people who listen.
import { phrases, size } from './format.js'

export const $ = selector => document.querySelector(selector)
export const form = $('#upload')
export const { dataset } = form
const { lang } = document.documentElement
export const t = phrases(JSON.parse(dataset.texts), lang)
export const endpoint = new URL(dataset.endpoint, location).href
export const bytes = n => size(n, lang)
export const now = () => performance.now() / 1000 // seconds
export const copy = id => $(id).content.firstElementChild.cloneNode(true)
export const name = (button, key, what) => {
  button.textContent = t(key)
  button.setAttribute('aria-label', `${t(key)} ${what}`)
}

// Drawing: at once after what a person did, and a few times a second for what the network does.
let paint; let timer
export const drawsWith = how => { paint = how }
export const draw = () => { clearTimeout(timer); timer = 0; paint() }
export const changed = () => { timer ||= setTimeout(draw, 250) }

// One polite voice. What people did is said at once; what happened is told with the next drawing.
let told = []; let spoken = 0
export const say = text => { $('#live').textContent = text; spoken = now() }
export const tell = text => told.push(text)

/** Several things are summed up, and nothing is said faster than somebody can listen. */
export function speak (total, going) {
  const n = told.length; const pause = !n ? 15 : n > 1 && going ? 10 : 1
  if (!n && !going) return
  if (now() - spoken < pause) return changed()
  say(n === 1 ? told[0] : total)
  told = []
}

/** What a server says, in its words: many a proxy answers with a whole page. */
export const reason = body => (/^\s*</.test(body) ? new DOMParser().parseFromString(body, 'text/html').title : body).trim().slice(0, 200)

/** Why an upload was refused for good. HEAD has no words for it, but who sends something more is told. */
export async function why (url, size) {
  const headers = { 'Tus-Resumable': '1.0.0', 'Upload-Offset': size, 'Content-Type': 'application/offset+octet-stream' }
  const answer = await fetch(url, { method: 'PATCH', headers })
  return reason(await answer.text())
}
