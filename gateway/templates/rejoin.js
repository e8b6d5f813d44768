(()=>{"use strict";
const button=document.getElementById("rejoin");button.hidden=false;
button.addEventListener("click",async()=>{await fetch("/_usher/sales/"+button.dataset.sale+"/join",{method:"POST"});location.reload()})})();
