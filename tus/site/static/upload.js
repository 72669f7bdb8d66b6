// The upload page: how files come in, and what is done to all of them. item.js sends one, rows.js shows them.
import { recallSome } from './earlier.js'
import { Item, active, items, next, resume, running, some, stopped } from './item.js'
import { $, draw, form, now, say, t } from './page.js'
import './rows.js'

const input = $('#file')
const { classList } = document.documentElement

async function take (files) { // in slices, so that the page answers while thousands come in
  let slice = now()
  if (files.length) say(t('added', { n: files.length }))
  for (const file of files) {
    new Item(file) // eslint-disable-line no-new
    if (now() - slice < 0.05) continue
    draw(); next()
    await new Promise(resolve => setTimeout(resolve))
    slice = now()
  }
  draw(); next()
}

async function walk (entry, above = '') { // a dropped folder, with all that is in it
  const ask = (object, method) => new Promise((resolve, reject) => object[method](resolve, reject))
  if (entry.isFile) return [Object.assign(await ask(entry, 'file'), { path: above + entry.name })]
  const reader = entry.createReader(); let found = []
  for (let some; (some = await ask(reader, 'readEntries')).length;) { // a hundred at a time
    found = found.concat(...await Promise.all(some.map(inner => walk(inner, `${above}${entry.name}/`))))
  }
  return found
}

async function drop ({ items, files }) {
  const entries = [...items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)
  take(entries.length ? (await Promise.all(entries.map(entry => walk(entry)))).flat() : [...files])
}

function online () {
  $('#offline').hidden = navigator.onLine
  if (!navigator.onLine) for (const item of [...running].reverse()) item.wait()
  draw(); next()
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
  else resume([...items].filter(item => stopped(item) && !item.unfit))
  next(); draw()
}
addEventListener('paste', event => take([...event.clipboardData.files]))
ondragover = event => { event.preventDefault(); form.classList.add('over') }
ondragleave = event => { if (!event.relatedTarget) form.classList.remove('over') }
ondrop = event => { ondragover(event); form.classList.remove('over'); drop(event.dataTransfer) }
ononline = onoffline = online
onbeforeunload = event => { if (some(active)) event.preventDefault() }
setInterval(() => { for (const item of [...running]) item.watch() }, 1000)
classList.add('js')
if (input.files.length) input.onchange() // chosen before this ran
online()
recallSome()
