//! What another run learned, taken over by name.

use super::Parameters;
use crate::learn::graph::{Graph, Role};
use crate::learn::recipe::Method;

impl Parameters {
    /// Takes over what `find` has of a name and a length; gives how many parameters it had.
    ///
    /// A quantizer comes whole or not at all: not where the other run had none; a weight that comes
    /// without one gets first steps of its own. Where bits are frozen here at another number, steps
    /// come as [`Parameters::set_bits`] changes them.
    pub(crate) fn adopt(
        &mut self,
        graph: &Graph,
        find: impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> usize {
        let mut found = 0;
        for at in 0..self.all.len() {
            let own = &self.all[at];
            if let (false, Some(value)) =
                (own.what.is_quantizer(), find(&own.name, own.value.len()))
            {
                self.all[at].value = value;
                found += 1;
            }
        }
        for l in 0..self.layers.len() {
            let at = self.layers[l];
            let frozen = self.method == Method::Lsq || graph.layers[l].is_edge;
            if self.adopt_quantizer(at + 1, frozen, true, &find) {
                found += 3;
            } else {
                self.begin_steps(l);
            }
        }
        for s in 0..self.sites.len() {
            let (role, signed) = (graph.sites[s].role, graph.sites[s].signed);
            let frozen = self.method == Method::Lsq || role != Role::Layer;
            if role != Role::Input && self.adopt_quantizer(self.sites[s], frozen, signed, &find) {
                found += 3;
            }
        }
        found
    }

    /// Takes over alpha, beta and n, which stand from `at` on; says whether they were there.
    fn adopt_quantizer(
        &mut self,
        at: usize,
        frozen: bool,
        signed: bool,
        find: &impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> bool {
        let own = |i: usize| &self.all[at + i];
        let other = |i: usize| find(&own(i).name, own(i).value.len());
        let (Some(alpha), Some(beta), Some(n)) = (other(0), other(1), other(2)) else {
            return false;
        };
        let bits = own(2).value[0];
        for (i, value) in [alpha, beta, n].into_iter().enumerate() {
            self.all[at + i].value = value;
        }
        if frozen {
            self.requantize(at, bits, signed);
        }
        true
    }
}
