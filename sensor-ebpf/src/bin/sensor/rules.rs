//! The rule maps, as a judge asks them. Only for a new flow, and for a known one after the policy changed.

use aya_ebpf::maps::HashMap;
use sensor_ebpf::control::Config;
use sensor_ebpf::judge::{self, End, Judgement, Policy, Question};
use sensor_ebpf::parse::MacKey;
use sensor_ebpf::rule::{Address, AllowKey, RuleValue};

use crate::maps::{self, Work};

/// The rule maps.
struct Maps<'a> {
    config: &'a Config,
    /// Where prefixes are put together.
    prefix: *mut aya_ebpf::maps::lpm_trie::Key<Address>,
}

impl Maps<'_> {
    /// Hides from the verifier whether there is a rule (see `veil`): every one would double the ways to follow.
    #[inline(always)]
    fn veiled(&self, rule: Option<RuleValue>) -> RuleValue {
        let mut rule = rule.unwrap_or_default();
        rule.level ^= self.config.zero as u8;
        rule.flags ^= self.config.zero as u8;
        rule.list ^= self.config.zero as u16;
        rule.rule_id ^= self.config.zero;
        rule.until_ns ^= u64::from(self.config.zero);
        rule
    }

    #[inline(always)]
    fn get<K>(&self, rules: &HashMap<K, RuleValue>, key: &K) -> RuleValue {
        // SAFETY: the value is copied at once; a rule replaced meanwhile comes with a new generation, and the flow is judged
        // again then.
        self.veiled(unsafe { rules.get(key).copied() })
    }

    /// An address as a key of a trie.
    #[inline(always)]
    fn whole(&self, ip: &Address) -> &aya_ebpf::maps::lpm_trie::Key<Address> {
        // SAFETY: the scratch space of this CPU; nobody else holds it while the frame is judged.
        unsafe {
            (*self.prefix).prefix_len = 128;
            (*self.prefix).data = *ip;
            &*self.prefix
        }
    }
}

impl Policy for Maps<'_> {
    #[inline(always)]
    fn mac(&self, mac: &MacKey) -> RuleValue {
        self.get(&maps::RULES_MAC, mac)
    }

    #[inline(always)]
    fn ip(&self, ip: &Address) -> RuleValue {
        self.get(&maps::RULES_IP, ip)
    }

    #[inline(always)]
    fn net(&self, ip: &Address) -> RuleValue {
        self.veiled(maps::RULES_NET.get(self.whole(ip)).copied())
    }

    #[inline(always)]
    fn scope(&self, index: u32) -> RuleValue {
        self.veiled(maps::RULES_SCOPE.get(index).copied())
    }

    #[inline(always)]
    fn segment(&self, index: u32) -> u32 {
        maps::SEGMENT_OF.get(index).copied().unwrap_or(0) ^ self.config.zero
    }

    #[inline(always)]
    fn place(&self, mac: &MacKey) -> u32 {
        // SAFETY: the value is copied at once.
        unsafe { maps::PLACES.get(mac).copied() }.unwrap_or(0) ^ self.config.zero
    }

    #[inline(always)]
    fn is_internal(&self, ip: &Address) -> bool {
        maps::INTERNAL.get(self.whole(ip)).is_some()
    }

    #[inline(always)]
    fn allows(&self, key: &AllowKey) -> bool {
        // SAFETY: nothing of the value is read.
        unsafe { maps::ALLOW.get(key) }.is_some()
    }

    #[inline(always)]
    fn settle(&self, end: &mut End) {
        maps::settle(end);
    }
}

/// Judges the frame in the scratch space.
#[inline(always)]
pub fn judge(work: &mut Work) -> Judgement {
    let verdict = sekisho_judge();
    maps::settle(work);
    Judgement { verdict: verdict as u8, ..work.judgement }
}

/// Judges the frame in the scratch space and leaves the judgement there. With global linkage, so that the verifier (5.6)
/// looks at it once and not at each of its many calls.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn sekisho_judge() -> u32 {
    let (Some(scratch), Some(config)) = (maps::scratch(), maps::CONFIG.get(0)) else { return 0 };
    let Work { ask, prefix, judgement, ends, .. } = &mut scratch.work;
    let ask: &Question = ask;
    *judgement = judge::judge(ask, &Maps { config, prefix }, ends);
    u32::from(judgement.verdict)
}
