// The gallery: arrow keys, thumbnails that are not made yet, and what has just been uploaded.
const $ = selector => document.querySelector(selector)
const RETRIES = 20

// A crowd is told 503 while thumbnails are being made; so is asked again, later and later.
function retry ({ target }) {
  if (target.tagName !== 'IMG' || !target.closest('.tile, .stage')) return
  const tries = target.tries = (target.tries || 0) + 1
  if (tries > RETRIES) return
  setTimeout(async () => {
    const answer = await fetch(target.currentSrc || target.src).catch(() => ({ ok: false, status: 503 }))
    if (answer.ok) { target.srcset += ''; target.src += '' } else if (answer.status === 503) target.dispatchEvent(new Event('error'))
    else target.closest('.frame, .stage').classList.add('broken')
  }, (1 + Math.random()) * 1000 * Math.min(tries, 5))
}

addEventListener('error', retry, true)
for (const image of document.images) { // those that failed before this script came
  if (image.complete && image.currentSrc && !image.naturalWidth) retry({ target: image })
}

addEventListener('keydown', event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('input, video, button')) return
  const way = { ArrowLeft: 'prev', ArrowRight: 'next' }[event.key]
  const link = way && $(`a[rel=${way}]:not([hidden])`)
  if (link) location.assign(link.href)
})

let waiting
document.addEventListener('uploaded', () => { // several at once are shown at once
  clearTimeout(waiting)
  waiting = setTimeout(async () => {
    const text = await (await fetch(location.href)).text()
    const page = new DOMParser().parseFromString(text, 'text/html')
    for (const part of ['#photos', '.head', '[aria-label].folders']) {
      const [old, fresh] = [$(part), page.querySelector(part)]
      if (old && fresh && old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes)
    }
  }, 400)
})
