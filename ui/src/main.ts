import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { prepare, workerUrl } from './lib/html';

prepare();
mount(App, { target: document.getElementById('app')! });

// The offline shell.  With a certificate that the browser does not trust it is refused, and that is all right.
if (import.meta.env.PROD && 'serviceWorker' in navigator) navigator.serviceWorker.register(workerUrl()).catch(() => {});
