//! Lists in formats that no editor writes: archives, workbooks, UTF-16.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;

/// A zip archive of these files; a name that ends with `/` is a folder.
pub(crate) fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for (name, bytes) in files {
        if name.ends_with('/') {
            archive.add_directory(*name, options).unwrap();
        } else {
            archive.start_file(*name, options).unwrap();
            archive.write_all(bytes).unwrap();
        }
    }
    archive.finish().unwrap().into_inner()
}

/// A workbook with one sheet named `Pages`: texts are shared or in their cells by turns, and empty
/// cells are left out.
pub(crate) fn sheet(rows: &[&[&str]]) -> Vec<u8> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (mut shared, mut body) = (Vec::new(), String::new());
    for (number, row) in rows.iter().enumerate() {
        let mut cells = String::new();
        for (column, text) in row.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let at = format!("{}{}", char::from(b'A' + column as u8), number + 1);
            if (number + column) % 2 == 0 {
                cells += &format!("<c r=\"{at}\" t=\"s\"><v>{}</v></c>", shared.len());
                shared.push(format!(
                    "<si><t xml:space=\"preserve\">{}</t></si>",
                    escape(text)
                ));
            } else {
                let text = escape(text);
                cells += &format!(
                    "<c r=\"{at}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>"
                );
            }
        }
        body += &format!("<row r=\"{}\">{cells}</row>", number + 1);
    }
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relations = |kinds: &[(&str, &str)]| {
        let each = kinds.iter().enumerate().map(|(n, (kind, target))| {
            format!(
                "<Relationship Id=\"rId{}\" Type=\"{office}/{kind}\" Target=\"{target}\"/>",
                n + 1
            )
        });
        let each: String = each.collect();
        format!(
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{each}</Relationships>"
        )
    };
    let book = format!(
        "<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets><sheet name=\"Pages\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"
    );
    let strings = format!("<sst xmlns=\"{main}\">{}</sst>", shared.concat());
    let sheet = format!("<worksheet xmlns=\"{main}\"><sheetData>{body}</sheetData></worksheet>");
    let types = "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>";
    zipped(&[
        ("[Content_Types].xml", types.as_bytes()),
        (
            "_rels/.rels",
            relations(&[("officeDocument", "xl/workbook.xml")]).as_bytes(),
        ),
        ("xl/workbook.xml", book.as_bytes()),
        (
            "xl/_rels/workbook.xml.rels",
            relations(&[
                ("worksheet", "worksheets/sheet1.xml"),
                ("sharedStrings", "sharedStrings.xml"),
            ])
            .as_bytes(),
        ),
        ("xl/sharedStrings.xml", strings.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

/// A text in UTF-16 with a byte order mark.
pub(crate) fn utf_16(text: &str, little_endian: bool) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
    let bytes = units.map(|unit| {
        if little_endian {
            unit.to_le_bytes()
        } else {
            unit.to_be_bytes()
        }
    });
    bytes.flatten().collect()
}
