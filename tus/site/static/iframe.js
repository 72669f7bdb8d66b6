// Browsers without modern script: the form goes into a hidden frame, and the server is asked how far it is.
(function () {
  var form = document.getElementById('upload'); var input = document.getElementById('file')
  var texts = JSON.parse(form.getAttribute('data-texts')); var live = document.getElementById('live')
  var bar = document.createElement('progress'); var frame = document.createElement('iframe')
  var key; var sending = false
  function random () {
    var dice = window.crypto || window.msCrypto
    if (!dice) return (digits() + digits() + digits() + digits()).slice(0, 32)
    return [].map.call(dice.getRandomValues(new Uint8Array(16)), function (n) { return (n + 256).toString(16).slice(1) }).join('')
  }
  function digits () { return Math.random().toString(16).slice(2, 10) + '00000000'.slice(0, 8) }
  function say (text) { live.className = 'status'; live.firstChild ? live.firstChild.nodeValue = text : live.appendChild(document.createTextNode(text)) }
  function ask () {
    if (!sending) return
    var request = new XMLHttpRequest()
    request.onreadystatechange = function () {
      if (request.readyState !== 4) return
      var told = {}
      try { told = JSON.parse(request.responseText) } catch (ignored) {}
      if (sending && told.total) {
        bar.max = told.total; bar.value = told.received
        say(Math.floor(told.received / told.total * 100) + ' %')
      }
      setTimeout(ask, 800)
    }
    request.open('GET', form.getAttribute('data-progress') + '?uploadKey=' + key)
    request.send()
  }
  frame.name = 'answer'; frame.hidden = true; frame.title = ''
  bar.setAttribute('aria-label', texts.iframe_sending)
  form.appendChild(frame)
  form.target = 'answer'
  frame.onload = function () {
    if (!sending) return
    sending = false
    if (bar.parentNode) form.removeChild(bar)
    say(texts.iframe_done)
    input.value = ''
  }
  form.onsubmit = function () {
    if (!input.value) return false
    key = random()
    form.action = form.getAttribute('data-form') + '?uploadKey=' + key
    sending = true
    form.appendChild(bar)
    say(texts.iframe_sending)
    setTimeout(ask, 100)
  }
  document.documentElement.className += ' iframe'
})()
