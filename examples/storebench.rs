use orlop::engine::progress::Progress;
use orlop::store::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let s = Store::open(a[1].as_ref()).unwrap();
    eprintln!("open {:?}", t.elapsed());
    let fail = |e: StoreError| -> ! {
        eprintln!("{:?}: {} hint={:?}", e.class, e.chain(), e.hint);
        std::process::exit(1)
    };
    match a[2].as_str() {
        "load" => {
            let src = if a[3] == "-" {
                Source::Stream(Box::new(std::io::stdin()))
            } else {
                Source::from_file(std::fs::File::open(&a[3]).unwrap())
            };
            match s.load(src, &LoadOptions::default(), &Progress::none()) {
                Ok(l) => {
                    for i in l {
                        println!("{:?}", i)
                    }
                }
                Err(e) => fail(e),
            }
        }
        "import" => {
            let src = Source::from_file(std::fs::File::open(&a[3]).unwrap());
            match s.import(
                src,
                &orlop::engine::image::ImportImage { reference: Some(a[4].clone()), ..Default::default() },
                &Progress::none(),
            ) {
                Ok(l) => println!("{:?}", l),
                Err(e) => fail(e),
            }
        }
        "host" => {
            match s.from_host(
                &a[3].parse().unwrap(),
                &a[4..].iter().map(Into::into).collect::<Vec<_>>(),
                &Progress::none(),
            ) {
                Ok(l) => println!("{:?}", l),
                Err(e) => fail(e),
            }
        }
        "images" => {
            for i in s.images().unwrap() {
                println!("{} {:?} {}", i.id.short(), i.familiar_names(), orlop::stdx::human::size_si(i.size_bytes()));
            }
            println!("{:?}", s.disk_use().unwrap());
        }
        "rm" => {
            println!("{:?}", s.remove_image(&a[3], Removal::Forced, &[]));
        }
        "prune" => {
            println!("{:?}", s.prune_images(PruneScope::Unused, &[]));
        }
        "sweep" => {
            println!("{:?}", s.sweep());
        }
        _ => {}
    }
    eprintln!("total {:?}", t.elapsed());
}
