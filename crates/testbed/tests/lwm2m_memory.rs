//! What an idle client costs on the heap: thousands live in one process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lwm2m::client::{Client, ClientConfig, ServerConfig, coap_config};
use testbed::dm_server::DmEvent;
use testbed::lwm2m_world::{World, account};

/// One device with two servers, registered and quiet.
const LIMIT: usize = 6 * 1024;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "counting what the system's allocator hands out takes an allocator")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_registered_quiet_client_with_two_servers_stays_below_6_kib() {
    let lasting = |name: &str, id: u16| ServerConfig { lifetime: 86_400, ..account(name, id) };
    let mut world = World::new(vec![lasting("factory", 123), lasting("cloud", 234)], 1);
    world.register();
    world.run_for(Duration::from_secs(600));
    let shared = ClientConfig { endpoint: "x".into(), servers: Arc::new([]), coap: Arc::new(coap_config()) };
    let client = std::mem::replace(&mut world.client, Client::new(shared, 1));
    let before = HELD.get();
    drop(client);
    let heap = before - HELD.get() + size_of::<Client>();
    println!("{heap} bytes, of these {} inline", size_of::<Client>());
    assert!(heap < LIMIT, "{heap} bytes");
    assert_eq!(world.count(0, |event| matches!(event, DmEvent::Registered(_))), 1);
}
