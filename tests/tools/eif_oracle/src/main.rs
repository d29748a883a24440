//! eif-oracle describe FILE: what the stock reader says about an image, as JSON.
//! eif-oracle build OUT KERNEL CMDLINE IDENTITY.json RAMDISK... [--sign KEY CERTIFICATE] [--arm64]: an image by the stock
//! writer; prints its measurements.
use aws_nitro_enclaves_image_format::defs::EifIdentityInfo;
use aws_nitro_enclaves_image_format::utils::eif_reader::EifReader;
use aws_nitro_enclaves_image_format::utils::{EifBuilder, PcrSignatureChecker, SignKeyData};
use serde_json::json;
use sha2::{Digest, Sha384};
use std::path::Path;

fn describe(path: &str) -> Result<(), String> {
    let mut reader = EifReader::from_eif(path.to_string())?;
    let measurements = reader.get_measurements()?;
    let mut out = json!({
        "EifVersion": reader.header.version,
        "Measurements": measurements,
        "IsSigned": reader.signature_section.is_some(),
        "CheckCRC": reader.check_crc(),
        "Flags": reader.header.flags,
        "Identity": serde_json::to_value(reader.get_metadata()).map_err(|e| e.to_string())?,
    });
    if reader.signature_section.is_some() {
        let certificate = reader.get_certificate_info(measurements)?;
        out["SigningCertificate"] = serde_json::to_value(certificate).map_err(|e| e.to_string())?;
        out["SignatureCheck"] = json!(reader.sign_check);
        // what the stock tool asks before it starts an enclave: signature and dates
        out["Startable"] = json!(PcrSignatureChecker::from_eif(path)?.verify().is_ok());
    }
    println!("{out}");
    Ok(())
}

fn build(args: &[String]) -> Result<(), String> {
    let mut rest = args.to_vec();
    let arm64 = rest.iter().position(|a| a == "--arm64").map(|i| rest.remove(i)).is_some();
    let key = match rest.iter().position(|a| a == "--sign") {
        Some(i) => {
            let pair: Vec<String> = rest.drain(i..i + 3).collect();
            Some(SignKeyData::new(&pair[1], Path::new(&pair[2]))?)
        }
        None => None,
    };
    let [out, kernel, cmdline, identity, ramdisks @ ..] = &rest[..] else {
        return Err("too few arguments".to_string());
    };
    let text = std::fs::read_to_string(identity).map_err(|e| e.to_string())?;
    let identity: EifIdentityInfo = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let mut builder = EifBuilder::new(Path::new(kernel), cmdline.clone(), key, Sha384::new(), arm64 as u16, identity);
    for ramdisk in ramdisks {
        builder.add_ramdisk(Path::new(ramdisk));
    }
    let mut file = std::fs::File::create(out).map_err(|e| e.to_string())?;
    println!("{}", json!(builder.write_to(&mut file)));
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("describe") if args.len() == 2 => describe(&args[1]),
        Some("build") => build(&args[1..]),
        _ => Err("usage: eif-oracle describe FILE | build OUT KERNEL CMDLINE IDENTITY RAMDISK...".to_string()),
    };
    if let Err(why) = result {
        eprintln!("eif-oracle: {why}");
        std::process::exit(1);
    }
}
