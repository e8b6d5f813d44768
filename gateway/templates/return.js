(()=>{"use strict";
const fill=()=>{const code=decodeURIComponent(location.hash.slice(1));if(!code)return;
document.getElementById("code").value=code;history.replaceState(null,"",location.pathname);document.querySelector("button").focus()};
// The same taker for every try of this browser: an answer that was lost can be asked for again.
try{const taker=document.querySelector("[name=taker]"),key="usher-taker "+location.pathname;
if(localStorage.getItem(key))taker.value=localStorage.getItem(key);else localStorage.setItem(key,taker.value)}catch{}
addEventListener("hashchange",fill);fill()})();
