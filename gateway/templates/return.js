(()=>{"use strict";
const fill=()=>{const code=decodeURIComponent(location.hash.slice(1));if(!code)return;
document.getElementById("code").value=code;history.replaceState(null,"",location.pathname);document.querySelector("button").focus()};
addEventListener("hashchange",fill);fill()})();
