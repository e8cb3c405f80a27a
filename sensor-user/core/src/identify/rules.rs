//! What each fact says of the kind: one row a rule, weights in nats of log-odds.
//!
//! A weight of 1 makes a kind 2.7 times as likely as it was, one of 3 twenty times. They are judgements by those who know
//! networks, not fitted numbers; `cargo xtask eval devices` holds them against captures. A rule names protocols, products'
//! families, makers; never a single device.

use super::kind::Kind::{self, *};

/// Who a fact is known from. Two facts of one witness may say the same thing twice; those of two witnesses do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Witness {
    /// The OUI registry.
    Maker,
    /// How it asks for an address.
    Dhcp,
    /// What it says of itself in words.
    Words,
    /// What it announces.
    Offers,
    /// What it looks for.
    LooksFor,
    /// LLDP and CDP.
    Neighbour,
    /// Its system: how it opens TCP connections, and how small systems ask for an address, which is one thing seen twice.
    System,
    /// What it serves.
    Serves,
    /// What it uses.
    Uses,
    /// What it does for others: routes, gives out addresses.
    Part,
}

/// A fact.
#[derive(Clone, Copy, Debug)]
pub enum Fact {
    /// One of these words begins a word of the maker's name.
    Maker(&'static [&'static str]),
    /// The vendor class begins so.
    Vendor(&'static [&'static str]),
    /// The options asked for begin so.
    Asks(&'static [u8]),
    /// All of these options are asked for.
    AsksAll(&'static [u8]),
    /// One of these words is in what it says of itself.
    Words(&'static [&'static str]),
    /// Its name begins so.
    Name(&'static [&'static str]),
    /// It announces one of these.
    Offers(&'static [&'static str]),
    /// It looks for one of these.
    LooksFor(&'static [&'static str]),
    /// It has a NetBIOS name of one of these last bytes.
    NetBios(&'static [u8]),
    /// By LLDP or CDP it is a switch; a router; an access point; a telephone.
    Switches,
    /// See above.
    Routes,
    /// See above.
    AccessPoint,
    /// See above.
    Telephone,
    /// It opens connections with these options, from this time to live and one of these windows (none: any).
    Syn(u8, &'static [u16], &'static [u8]),
    /// It serves one of these ports of TCP.
    Serves(&'static [u16]),
    /// It serves all of these.
    ServesAll(&'static [u16]),
    /// It serves one of these ports of UDP.
    ServesUdp(&'static [u16]),
    /// Others answer it at one of these ports of TCP.
    Uses(&'static [u16]),
    /// The same of UDP.
    UsesUdp(&'static [u16]),
    /// Its MAC address carries many, or it forwards.
    Carries,
    /// It gives out addresses.
    GivesAddresses,
    /// Its MAC address was made up by its software.
    MadeUp,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What is seen.
    pub fact: Fact,
    /// Who says so.
    pub witness: Witness,
    /// What that says of kinds.
    pub says: &'static [(Kind, f64)],
    /// In words; what was found is put in the place of `{}`.
    pub words: &'static str,
}

const fn row(fact: Fact, witness: Witness, says: &'static [(Kind, f64)], words: &'static str) -> Rule {
    Rule { fact, witness, says, words }
}

/// What each kind has before anything is known, in nats against "unknown".
pub const PRIOR: f64 = -3.0;

/// The options with which systems open TCP connections (p0f's database, v3): Linux and Android, Windows, Apple's, and small
/// stacks that say no more than their largest segment.
const LINUX: &[u8] = &[2, 4, 8, 1, 3];
const WINDOWS: &[u8] = &[2, 1, 3, 1, 1, 4];
const WINDOWS_OLD: &[u8] = &[2, 1, 1, 4];
const APPLE: &[u8] = &[2, 1, 3, 1, 1, 8, 4, 0];
const OLD_LINUX: &[u8] = &[2, 1, 1, 4, 1, 3];
const SMALL: &[u8] = &[2];

/// All of them.
#[rustfmt::skip] // A table is read by its columns.
pub const RULES: &[Rule] = &[
    // Makers. What one makes much else besides says little.
    row(Fact::Maker(&["terumo", "b. braun", "b.braun", "fresenius", "baxter", "smiths medical", "carefusion", "alaris", "hospira", "icu medical", "ivenix", "zyno", "jms co"]),
        Witness::Maker, &[(InfusionPump, 4.5)], "{} makes infusion pumps"),
    row(Fact::Maker(&["nihon kohden", "fukuda denshi", "philips medical", "philips patient", "philips healthcare", "draeger", "dräger", "drager", "mindray", "shenzhen mindray", "masimo", "spacelabs", "welch allyn", "nonin", "omron healthcare", "ge medical", "ge healthcare", "marquette"]),
        Witness::Maker, &[(PatientMonitor, 4.2), (Modality, 2.0)], "{} makes patient monitors"),
    row(Fact::Maker(&["siemens healthineers", "siemens healthcare", "siemens medical", "canon medical", "toshiba medical", "hitachi medical", "shimadzu", "fujifilm", "fuji photo", "hologic", "carestream", "agfa", "varian medical", "elekta", "samsung medison", "esaote", "sonosite", "planmeca", "j.morita", "morita"]),
        Witness::Maker, &[(Modality, 4.0), (Pacs, 1.0)], "{} makes imaging devices"),
    row(Fact::Maker(&["brother", "ricoh", "kyocera", "xerox", "fuji xerox", "fujifilm business", "konica minolta", "lexmark", "seiko epson", "epson", "zebra tech", "oki electric", "oki data", "sato corp", "toshiba tec", "canon inc", "sharp corp", "brady", "dymo", "star micronics"]),
        Witness::Maker, &[(Printer, 3.6)], "{} makes printers"),
    row(Fact::Maker(&["polycom", "yealink", "snom", "grandstream", "mitel", "avaya", "gigaset", "aastra", "unify", "saxa", "nakayo", "spectralink", "ascom", "fanvil", "audiocodes", "panasonic communications", "iwatsu"]),
        Witness::Maker, &[(Phone, 4.2)], "{} makes telephones"),
    row(Fact::Maker(&["axis communications", "hikvision", "hangzhou hikvision", "zhejiang dahua", "dahua", "vivotek", "hanwha", "i-pro", "mobotix", "bosch security", "avigilon", "arecont", "foscam", "reolink", "geovision", "zhejiang uniview", "hangzhou ezviz", "amcrest"]),
        Witness::Maker, &[(Camera, 4.4)], "{} makes cameras"),
    row(Fact::Maker(&["rockwell", "allen-bradley", "omron corp", "mitsubishi electric", "keyence", "beckhoff", "phoenix contact", "wago", "moxa", "siemens ag", "schneider", "yokogawa", "b&r industrial", "hirschmann automation", "fanuc", "turck", "pilz"]),
        Witness::Maker, &[(Plc, 3.6), (Building, 1.0), (Switch, 0.5)], "{} makes industrial controllers"),
    row(Fact::Maker(&["johnson controls", "honeywell", "tridium", "delta controls", "azbil", "yamatake", "daikin", "belimo", "siemens building", "siemens switzerland", "kmc controls", "reliable controls", "automated logic", "distech"]),
        Witness::Maker, &[(Building, 4.0)], "{} makes building automation"),
    row(Fact::Maker(&["synology", "qnap", "netapp", "drobo", "thecus", "asustor", "western digital", "lacie", "seagate"]),
        Witness::Maker, &[(Nas, 4.0)], "{} makes file servers"),
    row(Fact::Maker(&["ruckus", "aruba", "cambium", "meraki", "ubiquiti", "aerohive", "xirrus", "mist systems", "fluke networks wireless"]),
        Witness::Maker, &[(AccessPoint, 3.0), (Switch, 1.5), (Router, 1.0)], "{} makes access points"),
    row(Fact::Maker(&["cisco", "juniper", "arista", "extreme networks", "allied telesis", "brocade", "foundry", "alaxala", "h3c", "huawei tech", "ruijie", "enterasys", "apresia", "hewlett packard enterprise", "procurve"]),
        Witness::Maker, &[(Switch, 2.4), (Router, 2.2), (AccessPoint, 1.0), (Phone, 0.8)], "{} makes network devices"),
    row(Fact::Maker(&["yamaha", "fortinet", "palo alto", "mikrotik", "routerboard", "zyxel", "draytek", "avm", "sonicwall", "watchguard", "check point", "sophos", "furukawa", "nec platforms", "century systems", "pegatron", "arcadyan", "sagemcom", "technicolor", "netgear", "i-o data", "buffalo"]),
        Witness::Maker, &[(Router, 3.0), (AccessPoint, 1.0), (Switch, 0.8), (Nas, 0.3)], "{} makes routers"),
    row(Fact::Maker(&["d-link", "tp-link", "edimax", "linksys", "belkin", "asus", "trendnet", "planex", "elecom", "logitec", "digitus"]),
        Witness::Maker, &[(Smart, 2.0), (Camera, 1.6), (Router, 1.6), (AccessPoint, 1.2), (Switch, 1.0)], "{} makes devices for homes and networks"),
    row(Fact::Maker(&["espressif", "tuya", "hi-flying", "signify", "philips lighting", "osram", "ledvance", "eq-3", "withings", "fitbit", "netatmo", "shelly", "allterco", "itead", "nest labs", "ecobee", "lifx", "lumi united", "broadlink", "ikea", "wiz connected", "smartthings", "silicon lab", "silicon laboratories", "texas instruments", "nordic semi", "microchip tech", "realtek semi", "bouffalo", "murata", "switchbot", "woan", "gosund", "meross", "ring llc", "arlo", "wyze", "tado", "danfoss", "xiaomi", "yeelink", "qingdao yeelink"]),
        Witness::Maker, &[(Smart, 3.4), (Camera, 0.6)], "{} makes smart devices or their radio modules"),
    row(Fact::Maker(&["dell", "lenovo", "asustek", "giga-byte", "gigabyte", "micro-star", "msi", "hp inc", "hewlett packard", "hewlett-packard", "fujitsu", "nec personal", "panasonic", "vaio", "acer", "clevo", "wistron", "quanta", "compal", "intel corp", "liteon", "azurewave", "hon hai", "universal global", "pcs systemtechnik", "mouse computer", "toshiba", "dynabook", "elitegroup", "asrock", "framework computer"]),
        Witness::Maker, &[(Pc, 2.6), (Server, 1.0), (Printer, 0.1)], "{} makes PCs"),
    row(Fact::Maker(&["super micro", "supermicro", "ibm corp", "oracle", "inspur", "nutanix", "stratus", "cray"]),
        Witness::Maker, &[(Server, 3.0), (Hypervisor, 2.0)], "{} makes servers"),
    row(Fact::Maker(&["vmware", "xensource", "microsoft corp", "parallels", "qumranet"]),
        Witness::Maker, &[(Server, 1.6), (Pc, 1.4)], "{}: a virtual machine, or a PC of theirs"),
    row(Fact::Maker(&["raspberry"]), Witness::Maker, &[(Smart, 1.8), (Pc, 0.8), (Server, 0.8)], "{} makes small boards"),
    row(Fact::Maker(&["apple"]), Witness::Maker, &[(Mobile, 2.2), (Pc, 2.0), (Media, 0.5)], "{} makes PCs, telephones and tablets"),
    row(Fact::Maker(&["samsung electro", "htc corp", "oneplus", "guangdong oppo", "vivo mobile", "motorola mobility", "lg electronics (mobile", "google", "fairphone", "huawei device", "sony mobile", "sharp mobile", "fcnt", "kyocera mobile", "honor device", "zte corp", "blackberry", "research in motion"]),
        Witness::Maker, &[(Mobile, 2.8), (Media, 0.8)], "{} makes smartphones"),
    row(Fact::Maker(&["nintendo", "sony interactive", "sony computer", "roku", "sonos", "bose", "vizio", "tcl", "hisense", "lg innotek", "denon", "harman", "bang & olufsen", "funai"]),
        Witness::Maker, &[(Media, 3.8)], "{} makes devices for entertainment"),
    row(Fact::Maker(&["amazon"]), Witness::Maker, &[(Media, 2.0), (Smart, 1.6), (Mobile, 1.2)], "{} makes loudspeakers, tablets and smart devices"),

    // How it asks for an address.
    row(Fact::Vendor(&["MSFT "]), Witness::Dhcp, &[(Pc, 3.2), (Server, 1.4), (Modality, 1.2), (Pacs, 0.6)], "asks for an address as Windows does ({})"),
    row(Fact::Asks(&[1, 3, 6, 15, 31, 33, 43, 44, 46, 47]), Witness::Dhcp, &[(Pc, 1.6), (Server, 0.6), (Modality, 0.6)], "asks for the options that Windows does"),
    row(Fact::Asks(&[1, 15, 3, 6, 44, 46, 47, 31, 33]), Witness::Dhcp, &[(Pc, 1.6), (Server, 0.6), (Modality, 0.6)], "asks for the options that Windows does"),
    row(Fact::Vendor(&["android-dhcp", "dhcpcd-5.5.6", "dhcpcd 4.0.15"]), Witness::Dhcp, &[(Mobile, 3.4), (Media, 1.2), (Smart, 0.4)], "asks for an address as Android does ({})"),
    row(Fact::Asks(&[1, 33, 3, 6, 15, 26, 28, 51, 58, 59]), Witness::Dhcp, &[(Mobile, 1.4), (Media, 0.8)], "asks for the options that Android does"),
    row(Fact::Asks(&[1, 3, 6, 15, 26, 28, 51, 58, 59]), Witness::Dhcp, &[(Mobile, 1.4), (Media, 0.8)], "asks for the options that Android does"),
    row(Fact::Asks(&[1, 121, 3, 6, 15, 119, 252, 95, 44, 46]), Witness::Dhcp, &[(Pc, 3.2)], "asks for the options that macOS does"),
    row(Fact::Asks(&[1, 121, 3, 6, 15, 114, 119, 252, 95, 44, 46]), Witness::Dhcp, &[(Pc, 3.2)], "asks for the options that macOS does"),
    row(Fact::Asks(&[1, 121, 3, 6, 15, 108, 114, 119, 252]), Witness::Dhcp, &[(Mobile, 2.0), (Pc, 1.6)], "asks for the options that Apple's systems do"),
    row(Fact::Asks(&[1, 121, 3, 6, 15, 119, 252]), Witness::Dhcp, &[(Mobile, 2.4), (Pc, 0.6), (Media, 0.8)], "asks for the options that Apple's systems do"),
    row(Fact::Asks(&[1, 28, 2, 3, 15, 6]), Witness::Dhcp, &[(Pc, 1.4), (Server, 1.6), (Smart, 0.3)], "asks for the options that Linux distributions do"),
    row(Fact::Vendor(&["udhcp"]), Witness::System, &[(Smart, 1.9), (Camera, 1.7), (Router, 0.6), (AccessPoint, 0.8), (Printer, 0.3), (Phone, 0.5), (Plc, 0.3), (Building, 0.5)], "asks for an address as small Linux systems do ({})"),
    row(Fact::Vendor(&["dhcpcd"]), Witness::Dhcp, &[(Smart, 1.2), (Mobile, 0.6), (Server, 0.6), (Media, 0.6)], "asks for an address by dhcpcd ({})"),
    row(Fact::Asks(&[1, 3, 28, 6]), Witness::System, &[(Smart, 3.0), (Plc, 0.6), (Building, 0.6)], "asks for the options that microcontrollers do (lwIP)"),
    row(Fact::Asks(&[1, 3, 6, 12, 15, 28, 42]), Witness::System, &[(Smart, 0.5), (Camera, 0.5), (AccessPoint, 0.3)], "asks for the options that small Linux systems do"),
    row(Fact::Vendor(&["Hewlett-Packard JetDirect", "HP Printer", "XEROX", "Xerox", "Canon", "KYOCERA", "EPSON", "Brother", "RICOH", "Lexmark", "Mfg=", "SHARP", "KONICA"]), Witness::Dhcp, &[(Printer, 4.5)], "asks for an address as printers do ({})"),
    row(Fact::Vendor(&["Cisco Systems, Inc. IP Phone", "yealink", "Polycom", "PolycomSoundPointIP", "snom", "Grandstream", "ccp.avaya.com", "Mitel", "ipphone", "OpenStage", "AudioCodes", "Aastra", "Fanvil"]), Witness::Dhcp, &[(Phone, 5.0)], "asks for an address as telephones do ({})"),
    row(Fact::AsksAll(&[66, 150]), Witness::Dhcp, &[(Phone, 1.8), (Router, 0.6), (Switch, 0.8)], "asks where to load its settings from, as telephones and network devices do"),
    row(Fact::Vendor(&["Cisco AP", "ArubaAP", "Ruckus CPE", "ubnt", "Meraki", "Aerohive"]), Witness::Dhcp, &[(AccessPoint, 5.0)], "asks for an address as access points do ({})"),
    row(Fact::Vendor(&["ciscopnp", "Arista", "Juniper", "HPE ", "HP Switch", "ArubaOS"]), Witness::Dhcp, &[(Switch, 3.8), (Router, 1.5)], "asks for an address as network devices do ({})"),
    row(Fact::Vendor(&["AXIS", "Hikvision", "HIKVISION", "DahuaTech", "VIVOTEK"]), Witness::Dhcp, &[(Camera, 5.0)], "asks for an address as cameras do ({})"),

    // What it says of itself.
    row(Fact::Words(&["camera", "ipcam", "webcam", "ip cam", "netcam", "network cam"]), Witness::Words, &[(Camera, 4.4)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["laserjet", "officejet", "deskjet", "printer", "imagerunner", "bizhub", "ecosys", "workcentre", "docuprint", "mfp", "pixus", "multifunction"]), Witness::Words, &[(Printer, 4.4)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["smart plug", "smartplug", "smart switch", "smart home", "sensor", "thermostat", "lightbulb", "light bulb", "gateway", "hub", "bridge", "dimmer", "scale"]), Witness::Words, &[(Smart, 2.2), (Router, 0.2)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["imac", "macbook", "macmini", "macpro", "mac14", "mac13", "mac15"]), Witness::Words, &[(Pc, 4.2)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["iphone", "ipad", "galaxy", "pixel"]), Witness::Words, &[(Mobile, 4.0)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["appletv", "chromecast", "roku", "playstation", "xbox", "nintendo", "bravia", "smart tv", "sonos", "webos"]), Witness::Words, &[(Media, 4.0)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["diskstation", "rackstation", "linkstation", "terastation", "readynas"]), Witness::Words, &[(Nas, 3.6)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["esxi", "vcenter", "proxmox", "hyper-v"]), Witness::Words, &[(Hypervisor, 4.0)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["infusion", "syringe", "smartpump"]), Witness::Words, &[(InfusionPump, 3.6)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Words(&["ultrasound", "tomograph", "modality", "x-ray", "xray", "mammo", "endoscop"]), Witness::Words, &[(Modality, 3.6)], "says \u{201c}{}\u{201d} of itself"),
    row(Fact::Name(&["android-", "android_"]), Witness::Words, &[(Mobile, 3.0), (Media, 1.0)], "is called {}, as Android does"),
    row(Fact::Name(&["desktop-", "laptop-", "win-"]), Witness::Words, &[(Pc, 3.0), (Server, 0.6)], "is called {}, as Windows does"),
    row(Fact::Name(&["esp_", "esp-", "esp32", "tasmota", "shelly", "espressif", "wlan0", "lwip", "tizen"]), Witness::Words, &[(Smart, 3.2)], "is called {}, as smart devices are by their module"),
    row(Fact::Name(&["raspberrypi"]), Witness::Words, &[(Smart, 2.2), (Server, 0.6), (Pc, 0.6)], "is called {}, as small boards are"),
    row(Fact::Name(&["npi", "brn", "brw", "rnp", "epson"]), Witness::Words, &[(Printer, 1.6)], "is called {}, as printers are"),
    row(Fact::Name(&["ct-", "mr-", "mri", "us-", "cr-", "dr-", "xa-", "ct0", "mr0"]), Witness::Words, &[(Modality, 1.4)], "is called {}, as modalities are"),
    row(Fact::Name(&["pacs"]), Witness::Words, &[(Pacs, 2.4)], "is called {}"),
    row(Fact::Name(&["sep"]), Witness::Words, &[(Phone, 1.4)], "is called {}, as telephones are"),

    // What it announces.
    row(Fact::Offers(&["_ipp._tcp", "_ipps._tcp", "_printer._tcp", "_pdl-datastream._tcp", "_uscan._tcp", "_scanner._tcp", "urn:schemas-upnp-org:device:printer", "urn:schemas-upnp-org:service:printbasic"]), Witness::Offers, &[(Printer, 4.2)], "announces that it prints or scans ({})"),
    row(Fact::Offers(&["_axis-video._tcp", "_rtsp._tcp", "_onvif._tcp", "_psia._tcp", "_dcp._tcp", "urn:schemas-upnp-org:device:digitalsecuritycamera", "urn:schemas-upnp-org:device:networkcamera", "urn:axis-com"]), Witness::Offers, &[(Camera, 4.6)], "announces pictures ({})"),
    row(Fact::Offers(&["_hap._tcp", "_matter._tcp", "_matterc._udp", "_meshcop._udp", "_esphomelib._tcp", "_shelly._tcp", "_ewelink._tcp", "_miio._udp", "_lutron._tcp", "_homekit._tcp", "_tplink._tcp", "urn:lge-com:service", "urn:schemas-upnp-org:device:basic", "urn:schemas-upnp-org:device:binarylight", "urn:schemas-upnp-org:device:dimmablelight", "urn:schemas-upnp-org:device:hvac"]), Witness::Offers, &[(Smart, 3.4), (Camera, 0.6)], "announces itself as smart devices do ({})"),
    row(Fact::Offers(&["_dhnap._tcp"]), Witness::Offers, &[(Smart, 1.2), (Camera, 1.2), (Router, 0.8)], "announces that it is managed as devices for homes are ({})"),
    row(Fact::Offers(&["_smb._tcp", "_afpovertcp._tcp", "_adisk._tcp", "_nfs._tcp"]), Witness::Offers, &[(Nas, 1.8), (Pc, 1.4), (Server, 0.8)], "announces files ({})"),
    row(Fact::Offers(&["_odisk._tcp", "_rfb._tcp", "_companion-link._tcp", "_eppc._tcp", "_net-assistant._udp"]), Witness::Offers, &[(Pc, 2.2), (Mobile, 0.8)], "announces itself as PCs do ({})"),
    row(Fact::Offers(&["_apple-mobdev", "_remotepairing"]), Witness::Offers, &[(Mobile, 3.0)], "announces itself as Apple's telephones do ({})"),
    row(Fact::Offers(&["_googlecast._tcp", "_airplay._tcp", "_raop._tcp", "_spotify-connect._tcp", "_sonos._tcp", "_amzn-wplay._tcp", "urn:schemas-upnp-org:device:mediarenderer", "urn:schemas-upnp-org:device:zoneplayer", "urn:dial-multiscreen-org"]), Witness::Offers, &[(Media, 3.4)], "announces that it plays ({})"),
    row(Fact::Offers(&["urn:schemas-upnp-org:device:mediaserver"]), Witness::Offers, &[(Nas, 2.0), (Media, 1.4), (Pc, 0.8)], "announces media ({})"),
    row(Fact::Offers(&["urn:schemas-upnp-org:device:internetgatewaydevice", "urn:schemas-upnp-org:device:wandevice"]), Witness::Offers, &[(Router, 4.4)], "announces a way to the Internet ({})"),
    row(Fact::Offers(&["urn:schemas-upnp-org:device:wlanaccesspoint", "urn:schemas-wifialliance-org:device:wfadevice"]), Witness::Offers, &[(AccessPoint, 2.6), (Router, 1.4)], "announces a wireless network ({})"),
    row(Fact::Offers(&["_dicom._tcp", "_acr-nema._tcp", "_dicom-tls._tcp"]), Witness::Offers, &[(Pacs, 2.6), (Modality, 2.2)], "announces DICOM ({})"),
    row(Fact::Offers(&["_sip._udp", "_sip._tcp", "_sips._tcp", "_sipuri._tcp"]), Witness::Offers, &[(Phone, 3.0)], "announces telephony ({})"),
    row(Fact::Offers(&["_workstation._tcp"]), Witness::Offers, &[(Pc, 1.4), (Server, 1.2), (Nas, 0.4)], "announces itself as Linux does ({})"),

    // What it looks for.
    row(Fact::LooksFor(&["_homekit._tcp", "_apple-mobdev", "_apple-pairable", "_sleep-proxy._udp", "_airport._tcp"]), Witness::LooksFor, &[(Mobile, 1.2), (Pc, 1.2)], "looks for Apple's devices ({})"),
    row(Fact::LooksFor(&["_ipp._tcp", "_ipps._tcp", "_uscan._tcp", "_scanner._tcp"]), Witness::LooksFor, &[(Pc, 1.6), (Mobile, 1.0)], "looks for printers ({})"),
    row(Fact::LooksFor(&["_googlecast._tcp", "_spotify-connect._tcp", "urn:dial-multiscreen-org", "urn:schemas-upnp-org:device:mediarenderer"]), Witness::LooksFor, &[(Mobile, 1.2), (Pc, 1.2)], "looks for something to play on ({})"),
    row(Fact::LooksFor(&["urn:schemas-upnp-org:device:internetgatewaydevice", "urn:schemas-upnp-org:service:wanipconnection", "urn:schemas-upnp-org:service:wanpppconnection"]), Witness::LooksFor, &[(Camera, 1.6), (Nas, 0.8), (Media, 0.8), (Pc, 0.5)], "looks for a way to be reached from the Internet ({})"),

    // What it says to whom it is plugged into, and NetBIOS.
    row(Fact::Telephone, Witness::Neighbour, &[(Phone, 5.0)], "names itself a telephone by LLDP or CDP"),
    row(Fact::AccessPoint, Witness::Neighbour, &[(AccessPoint, 5.0)], "names itself an access point by LLDP or CDP"),
    row(Fact::Switches, Witness::Neighbour, &[(Switch, 4.4), (Router, 1.0), (Hypervisor, 0.5)], "names itself a switch by LLDP or CDP"),
    row(Fact::Routes, Witness::Neighbour, &[(Router, 3.6), (Switch, 2.0)], "names itself a router by LLDP or CDP"),
    row(Fact::NetBios(&[0x1b, 0x1c]), Witness::Offers, &[(DomainController, 4.0)], "registers the NetBIOS name of a domain's controllers"),
    row(Fact::NetBios(&[0x20]), Witness::Offers, &[(Pc, 1.4), (Server, 0.8), (Nas, 0.8), (Printer, 0.2)], "registers a NetBIOS name"),

    // How it opens connections.
    row(Fact::Syn(128, &[], WINDOWS), Witness::System, &[(Pc, 1.8), (Server, 1.0), (Modality, 0.8), (Pacs, 0.5)], "opens connections as Windows does ({})"),
    row(Fact::Syn(128, &[], WINDOWS_OLD), Witness::System, &[(Pc, 1.0), (Modality, 1.2), (Server, 0.8)], "opens connections as old Windows does ({})"),
    row(Fact::Syn(64, &[], APPLE), Witness::System, &[(Mobile, 1.8), (Pc, 1.6), (Media, 0.4)], "opens connections as Apple's systems do ({})"),
    row(Fact::Syn(64, &[5_840, 5_792, 14_600, 14_480], LINUX), Witness::System, &[(Smart, 1.3), (Camera, 1.2), (Router, 0.5), (Printer, 0.4), (AccessPoint, 0.5), (Nas, 0.4), (Phone, 0.5)], "opens connections as old, mostly small, Linux systems do ({})"),
    row(Fact::Syn(64, &[], OLD_LINUX), Witness::System, &[(Smart, 1.3), (Camera, 1.2), (Router, 0.4), (AccessPoint, 0.4), (Printer, 0.3)], "opens connections as small systems do ({})"),
    row(Fact::Syn(64, &[65_535], LINUX), Witness::System, &[(Mobile, 1.6), (Media, 0.6), (Smart, 0.2)], "opens connections as Android does ({})"),
    row(Fact::Syn(64, &[29_200, 64_240, 42_340], LINUX), Witness::System, &[(Server, 0.8), (Pc, 0.6), (Nas, 0.5), (Smart, 0.4), (Camera, 0.3)], "opens connections as Linux does ({})"),
    row(Fact::Syn(64, &[], SMALL), Witness::System, &[(Smart, 2.2), (Plc, 0.8), (Building, 0.8), (Printer, 0.3), (InfusionPump, 0.4)], "opens connections as microcontrollers do ({})"),
    row(Fact::Syn(255, &[], SMALL), Witness::System, &[(Smart, 2.2), (Plc, 0.8), (Building, 0.8), (Printer, 0.3), (InfusionPump, 0.4)], "opens connections as microcontrollers do ({})"),
    row(Fact::Syn(128, &[], SMALL), Witness::System, &[(Smart, 2.0), (Plc, 0.8), (Building, 0.6)], "opens connections as microcontrollers do ({})"),

    // What it serves.
    row(Fact::Serves(&[104, 11_112, 2_761, 2_762, 4_242]), Witness::Serves, &[(Pacs, 3.4), (Modality, 2.4), (Hl7, 0.4)], "serves DICOM ({})"),
    row(Fact::Serves(&[2_575, 6_661]), Witness::Serves, &[(Hl7, 4.0), (PatientMonitor, 0.6)], "serves HL7 ({})"),
    row(Fact::Serves(&[9_100, 515, 631]), Witness::Serves, &[(Printer, 4.2), (Server, 0.4)], "serves printing ({})"),
    row(Fact::Serves(&[5_060, 5_061]), Witness::Serves, &[(Phone, 3.6)], "serves SIP ({})"),
    row(Fact::ServesUdp(&[5_060]), Witness::Serves, &[(Phone, 3.6)], "serves SIP ({})"),
    row(Fact::Serves(&[554, 8_554]), Witness::Serves, &[(Camera, 4.2), (Media, 0.8)], "serves pictures by RTSP ({})"),
    row(Fact::Serves(&[102, 502, 44_818, 20_000, 4_840, 5_007, 9_600]), Witness::Serves, &[(Plc, 4.2), (Building, 1.0)], "serves an industrial protocol ({})"),
    row(Fact::ServesUdp(&[47_808]), Witness::Serves, &[(Building, 4.4)], "serves BACnet ({})"),
    row(Fact::ServesAll(&[88, 389]), Witness::Serves, &[(DomainController, 4.6)], "serves Kerberos and LDAP ({})"),
    row(Fact::Serves(&[902, 8_006, 5_480, 2_179]), Witness::Serves, &[(Hypervisor, 4.0)], "serves virtual machines ({})"),
    row(Fact::Serves(&[2_049, 548, 5_000, 5_001, 3_260, 873]), Witness::Serves, &[(Nas, 2.8), (Server, 0.6)], "serves files ({})"),
    row(Fact::Serves(&[445, 139]), Witness::Serves, &[(Nas, 1.0), (Server, 1.4), (Pc, 1.0), (DomainController, 0.6)], "serves files ({})"),
    row(Fact::Serves(&[3_389]), Witness::Serves, &[(Pc, 1.2), (Server, 1.4)], "serves remote desktops ({})"),
    row(Fact::Serves(&[1_433, 3_306, 5_432, 1_521, 25, 587, 143, 993]), Witness::Serves, &[(Server, 3.4)], "serves a database or mail ({})"),
    row(Fact::Serves(&[80, 443, 8_080, 8_443]), Witness::Serves, &[(Server, 0.8), (Smart, 0.2), (Camera, 0.3), (Printer, 0.3)], "serves pages ({})"),
    row(Fact::ServesUdp(&[53]), Witness::Serves, &[(Router, 1.8), (Server, 1.4), (DomainController, 1.6)], "serves names ({})"),
    row(Fact::Serves(&[179]), Witness::Serves, &[(Router, 3.6)], "serves BGP ({})"),
    row(Fact::ServesUdp(&[5_246, 5_247, 1_812]), Witness::Serves, &[(Server, 1.0), (AccessPoint, 1.2)], "serves wireless networks ({})"),
    row(Fact::Serves(&[62_078]), Witness::Serves, &[(Mobile, 4.0)], "serves what Apple's telephones do ({})"),
    row(Fact::Serves(&[8_008, 8_009, 1_400]), Witness::Serves, &[(Media, 2.8), (Printer, 0.2)], "serves playing ({})"),
    row(Fact::Serves(&[24_105, 4_001, 2_100]), Witness::Serves, &[(PatientMonitor, 1.4)], "serves what patient monitors do ({})"),

    // What it uses.
    row(Fact::Uses(&[104, 11_112, 2_761, 2_762, 4_242]), Witness::Uses, &[(Modality, 2.8), (Pacs, 1.0), (Pc, 0.4)], "sends by DICOM ({})"),
    row(Fact::Uses(&[2_575, 6_661]), Witness::Uses, &[(PatientMonitor, 1.8), (Hl7, 1.4), (Modality, 1.0), (Server, 0.8)], "sends by HL7 ({})"),
    row(Fact::Uses(&[5_060, 5_061, 2_000]), Witness::Uses, &[(Phone, 3.2)], "registers as telephones do ({})"),
    row(Fact::UsesUdp(&[5_060]), Witness::Uses, &[(Phone, 3.2)], "registers as telephones do ({})"),
    row(Fact::Uses(&[9_100, 515, 631]), Witness::Uses, &[(Pc, 1.6), (Server, 1.0)], "prints ({})"),
    row(Fact::Uses(&[88]), Witness::Uses, &[(Pc, 1.8), (Server, 1.2), (DomainController, 0.5)], "is in a domain ({})"),
    row(Fact::Uses(&[445]), Witness::Uses, &[(Pc, 1.4), (Server, 0.8), (Printer, 0.3)], "uses files of others ({})"),
    row(Fact::UsesUdp(&[5_246, 5_247]), Witness::Uses, &[(AccessPoint, 4.2)], "is managed as access points are ({})"),
    row(Fact::Uses(&[8_883, 1_883, 8_886]), Witness::Uses, &[(Smart, 2.4)], "reports by MQTT ({})"),
    row(Fact::Uses(&[5_223, 5_228, 5_229]), Witness::Uses, &[(Mobile, 2.2), (Pc, 0.8)], "waits for messages as smartphones do ({})"),
    row(Fact::UsesUdp(&[3_478]), Witness::Uses, &[(Smart, 0.6), (Camera, 0.6), (Phone, 0.5)], "asks how it is reached from outside ({})"),
    row(Fact::Uses(&[502, 102, 44_818, 4_840]), Witness::Uses, &[(Plc, 1.2), (Server, 0.8), (Pc, 0.8)], "speaks to industrial controllers ({})"),

    // What it does for others.
    row(Fact::Carries, Witness::Part, &[(Router, 4.4), (AccessPoint, 0.8)], "passes on what others send"),
    row(Fact::GivesAddresses, Witness::Part, &[(Router, 2.6), (Server, 1.0), (DomainController, 1.4), (AccessPoint, 0.4)], "gives out addresses"),
    row(Fact::MadeUp, Witness::Maker, &[(Mobile, 1.4), (Server, 0.2), (Pc, 0.4)], "its MAC address is made up, as smartphones do"),
];
