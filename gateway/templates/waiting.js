(()=>{"use strict";
const body=document.body,sale=body.dataset.sale,url="/_usher/sales/"+sale+"/place",by=id=>document.getElementById(id);
const start=Number(body.dataset.position)||0,number=new Intl.NumberFormat(document.documentElement.lang);
let timer=0,fails=0,told=start,over=false;
const heads={paused:"Entry is paused. Your place is kept.",regrouping:"A short interruption. Your place is safe.",scheduled:"The sale has not opened yet. Your place is kept."};
const wait=eta=>{if(!eta)return"not known while entry stands still";if(eta.p90<60)return"less than a minute";
const low=Math.floor(eta.p10/60),high=Math.ceil(eta.p90/60);return low===high?"about "+high+" min":low+" to "+high+" min"};
const text=(id,value)=>{const at=by(id);if(at&&at.textContent!==value)at.textContent=value};
const later=seconds=>{clearTimeout(timer);timer=setTimeout(ask,seconds*1000)};
const enter=()=>{over=true;document.title="\u25cf It is your turn";text("headline","It is your turn. Taking you in \u2026");location.replace(body.dataset.target)};
function show(p){
text("headline",heads[p.sale_state]||"You are in line.");
if(p.position){text("position",number.format(p.position));
if(p.position<=told/1.41||(p.position<50&&p.position<told)){told=p.position;text("status","Your place is now "+number.format(told)+".")}
if(start>1){const bar=by("progress");bar.hidden=false;bar.value=Math.max(bar.value,1-(p.position-1)/start)}
document.title="#"+number.format(p.position)+" \u00b7 "+wait(p.eta_s)}
text("behind",number.format(p.behind||0));text("eta",wait(p.eta_s));text("rate",number.format(p.called_per_min));
text("updated",new Date(p.updated_at).toLocaleTimeString());
const m=by("message");m.hidden=!p.message;text("message",p.message||"")}
async function ask(){
if(over)return;
try{const r=await fetch(url,{headers:{accept:"application/json"},cache:"no-store"});
const p=await r.json();fails=0;text("alert","");
if(r.status===429){later(Number(r.headers.get("retry-after"))||5);return}
if(p.moved){moved();return}
if(r.status===401||r.status===403||p.state==="left"||p.state==="expired"){over=true;
if(r.status===401&&performance.getEntriesByType("navigation").some(n=>n.type==="reload")){
text("alert","This browser does not keep cookies for this site, so it cannot keep a place. Please allow them and reload.");return}
location.reload();return}
if(!r.ok)throw new Error(r.status);
if(p.state==="inside"){enter();return}
show(p);later(p.poll_s)}
catch(e){fails++;text("alert","The connection is interrupted. Your place is safe; this page keeps trying.");later(Math.min(60,2**fails))}}
const moved=()=>{over=true;clearTimeout(timer);const h=by("headline");h.role="alert";h.textContent=document.title="Your place is now on your other device.";
h.parentNode.replaceChildren(h)};
by("move").addEventListener("submit",async e=>{e.preventDefault();
try{const r=await fetch(url+"/code",{method:"POST",headers:{accept:"application/json"}}),p=await r.json();
if(p.moved){moved();return}
if(!r.ok){text("alert",p.detail);return}
by("moving").hidden=false;text("link",location.origin+p.link);by("qr").innerHTML=p.qr||"";text("code",p.code)}
catch(x){text("alert","No code could be made. Your place is safe; try again in a moment.")}});
const leave=by("leave");leave.hidden=false;
leave.addEventListener("click",async()=>{if(!confirm("Give up your place? It cannot be taken back."))return;
over=true;clearTimeout(timer);await fetch(url,{method:"DELETE"}).catch(()=>{});
text("headline","You have left the line.");by("move").hidden=by("moving").hidden=by("progress").hidden=true;const p=by("position");if(p)p.textContent="\u2013"});
addEventListener("online",ask);document.addEventListener("visibilitychange",()=>{if(!document.hidden)ask()});
text("updated",new Date(by("updated").dateTime).toLocaleTimeString());if(by("position"))text("position",number.format(start));
later(Number(body.dataset.poll)||5)})();
