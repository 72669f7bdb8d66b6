// How fast the upload page sends many small files, against bare tus-js-client in the same browser, in turns.
// Needs what the tests of the page need: scripts/make-clients. Run: node bench/page.js [FILES] [ROUNDS]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { World } from '../tests/site/js/world.js'

const [files = 5000, rounds = 3] = process.argv.slice(2).map(Number)
const python = path.join(import.meta.dirname, '..', '.venv', 'bin', 'python')

/** Both run in the page: `how` is "page" or "bare". Gives files a second, and the longest time without a frame. */
async function send ({ how, files, bytes }) {
  const list = Array.from({ length: files }, (_, n) => new File([new Uint8Array(bytes).fill(n)], `${how} ${n}.bin`))
  let frame = performance.now(); let longest = 0; let over = false
  requestAnimationFrame(function watch (now) {
    longest = Math.max(longest, now - frame)
    frame = now
    if (!over) requestAnimationFrame(watch)
  })
  await new Promise(resolve => setTimeout(resolve, 100))
  longest = 0
  const began = performance.now()
  if (how === 'page') {
    const data = new DataTransfer()
    for (const file of list) data.items.add(file)
    const input = document.querySelector('#file')
    input.files = data.files
    longest = 0
    input.dispatchEvent(new Event('change'))
    const total = document.querySelector('#total')
    const all = new RegExp(`^${files.toLocaleString('en')} of|^${files} of`)
    while (!all.test(total.textContent)) await new Promise(resolve => setTimeout(resolve, 50))
  } else {
    const endpoint = new URL(document.querySelector('#upload').dataset.endpoint, location).href
    const one = file => new Promise((resolve, reject) => new tus.Upload(file, {
      endpoint,
      uploadDataDuringCreation: true,
      storeFingerprintForResuming: false,
      metadata: { filename: file.name, filetype: file.type },
      onSuccess: resolve,
      onError: reject
    }).start())
    let next = 0
    const worker = async () => { while (next < files) await one(list[next++]) }
    await Promise.all([worker(), worker(), worker()])
  }
  over = true
  return { pace: files / (performance.now() - began) * 1000, longest }
}

const world = new World({ python, home: fs.mkdtempSync(path.join(os.tmpdir(), 'tus-page-')) })
const seen = { page: [], bare: [] }
try {
  await world.begin()
  for (let round = 0; round < rounds; round++) {
    for (const how of ['bare', 'page']) {
      const { page } = await world.visit('/', world.server.origin)
      const { pace, longest } = await page.evaluate(send, { how, files, bytes: 1024 })
      seen[how].push(pace)
      console.log(`${how} ${pace.toFixed(0)} files/s, longest time without a frame ${longest.toFixed(0)} ms`)
      await page.close()
    }
  }
  const middle = how => seen[how].sort((a, b) => a - b)[Math.floor(rounds / 2)]
  console.log(`${files} files of 1 KiB: the page has ${(middle('page') / middle('bare') * 100).toFixed(0)} % of bare tus-js-client's ${middle('bare').toFixed(0)} files/s`)
} finally {
  await world.end()
  fs.rmSync(world.home, { recursive: true })
}
