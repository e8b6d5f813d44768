//! How a sale is hurt: what each fault does to servers, links and gateways, and what the organiser changes meanwhile.

use queue::configure::Expect;
use queue::{SaleState, Settings};

use super::link::{Call, SNAPSHOT_AGE_MS, Server};
use super::node::Gateway;
use super::plan::Fault;
use super::world::{Event, World};

impl World {
    /// The organiser sets something; answers whether the line knew the sale.
    pub(crate) fn configure(&mut self, set: impl Fn(&mut Settings)) -> bool {
        let server = &mut self.servers[self.main];
        let at_us = server.now_us(self.now_us);
        let Some(snapshot) = server.model.snapshot(SNAPSHOT_AGE_MS, at_us) else { return false };
        let mut settings = snapshot.settings;
        set(&mut settings);
        if settings.state == SaleState::Open {
            settings.opens_at = None;
        }
        let opens_at_us = settings.opens_at.as_deref().and_then(gateway::line::view::parse_time_us);
        let call = Call::Configure { settings: Box::new(settings), opens_at_us, expect: Expect::Any };
        // The organiser's own request never fails here: what it sets is not what is tried.
        let _ = self.serves(self.main, &call);
        true
    }

    fn lose(&mut self, server: usize) {
        self.servers[server].losses += 1;
        self.terms[server].lose();
    }

    pub(crate) fn breaks(&mut self, fault: Fault) {
        let main = self.main;
        match fault {
            Fault::Empty => {
                self.servers[main].model.lose();
                self.servers[main].is_another = false;
                self.lose(main);
            }
            Fault::Remember => self.memory = Some(self.servers[main].clone()),
            Fault::Restore => {
                if let Some(memory) = self.memory.clone() {
                    let (losses, offset_us) = (self.servers[main].losses, self.servers[main].offset_us);
                    self.servers[main] = Server { losses, offset_us, is_another: true, ..memory };
                    self.lose(main);
                }
            }
            Fault::FailOver { notice_us } => self.promote(0, notice_us, 0),
            Fault::Split { for_us } => self.promote(1, 0, for_us),
            Fault::Silent { for_us } => {
                self.is_silent = true;
                self.at(self.now_us + for_us, Event::Speaks);
            }
            // A sale that no gateway and no Redis knows any more is the organiser's to set again.
            Fault::Restart { gateway, .. } if !self.is_known_besides(gateway) => {}
            Fault::Restart { gateway, after_us } => {
                self.gateways[gateway].stop();
                self.at(self.now_us + after_us, Event::Starts { gateway });
            }
            Fault::Cut { gateway, for_us } => {
                self.gateways[gateway].link_works = false;
                self.at(self.now_us + for_us, Event::Reaches { gateway });
            }
            Fault::Step { by_us } => {
                self.servers[main].offset_us += by_us;
                self.terms[main].step(&self.servers[main], self.now_us);
            }
            Fault::Terms { rate_per_min, max_inside } => {
                self.configure(|settings| {
                    (settings.rate_per_min, settings.max_inside) = (rate_per_min, max_inside);
                });
            }
            Fault::Pause { for_us } => {
                self.configure(|settings| settings.state = SaleState::Paused);
                self.at(self.now_us + for_us, Event::Resumes);
            }
        }
    }

    /// Whether another gateway runs that knows the sale.
    fn is_known_besides(&self, gateway: usize) -> bool {
        let knows = |(other, g): (usize, &Gateway)| other != gateway && g.is_running && g.view.is_some();
        self.gateways.iter().enumerate().any(knows)
    }

    /// What was remembered becomes the primary. The first gateways stay with the old one for some time; the others are
    /// told at once, or after some time with nobody to talk to.
    fn promote(&mut self, stay: usize, notice_us: u64, stay_us: u64) {
        let Some(memory) = self.memory.clone() else { return };
        let (old, new) = (self.main, self.servers.len());
        let (losses, offset_us) = (self.servers[old].losses, self.servers[old].offset_us);
        self.servers.push(Server { losses, offset_us, is_another: true, ..memory });
        self.terms.push(self.terms[old].clone());
        self.lose(new);
        self.main = new;
        for gateway in 0..self.gateways.len() {
            if gateway < stay {
                self.at(self.now_us + stay_us, Event::Talks { gateway, server: new });
            } else {
                self.gateways[gateway].route = new;
                self.gateways[gateway].link_works &= notice_us == 0;
                self.at(self.now_us + notice_us, Event::Reaches { gateway });
            }
        }
    }
}
